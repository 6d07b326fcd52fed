"""What one question before a run found: a number, where it becomes a worry, and a sentence."""

from collections.abc import Iterable
from typing import Final, Literal

from service.domain.values import Value

Verdict = Literal["ok", "warn", "refuse"]
ORDER: Final[tuple[Verdict, ...]] = ("ok", "warn", "refuse")


class Check(Value):
    """One question; `value` is None where it does not apply, and the sentence says why."""

    name: str
    value: float | None = None
    threshold: float | None = None
    verdict: Verdict = "ok"
    sentence: str


def worst(verdicts: Iterable[Verdict]) -> Verdict:
    """The verdict of all together."""
    return ORDER[max((ORDER.index(each) for each in verdicts), default=0)]
