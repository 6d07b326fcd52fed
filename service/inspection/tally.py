"""A count for every kind of fault, so that a million wrong rows are one sentence."""

from collections import Counter

from service.errors import Fault


class Tally:
    """Faults by place and kind, in the order in which they were first seen."""

    def __init__(self) -> None:
        self._counts: Counter[tuple[str, str]] = Counter()

    def add(self, pointer: str, sentence: str, count: int = 1) -> int:
        """Count `count` cases; `{n}` in the sentence becomes their number. Returns the count."""
        if count:
            self._counts[pointer, sentence] += count
        return count

    def faults(self) -> tuple[Fault, ...]:
        return tuple(Fault(pointer, text.replace("{n}", str(n))) for (pointer, text), n in self._counts.items())

    def is_clean(self, *pointers: str) -> bool:
        """Whether nothing is wrong in any of these places."""
        return not any(pointer in pointers for pointer, _ in self._counts)

    def __bool__(self) -> bool:
        return bool(self._counts)
