"""One attack tried on every model of a case, and told as a convention."""

from collections.abc import Callable
from typing import Final

import numpy as np

from service.domain.report import Convention
from worker.case import Case
from worker.sides import Side

BEFORE, AFTER, REFERENCES = 0, 1, 2
SVC_ROWS: Final = 600       # on each side that a support vector machine learns from; its cost grows with the square
ROWS: Final = 2_000         # on each side that a logistic regression learns from


def told(case: Case, name: str, source: str, reads: str, of: Callable[[int], float]) -> Convention:
    """`of` is the attack's number for the model at that place."""
    references = [of(model) for model in range(REFERENCES, len(case.models))]
    return Convention(
        name=name,
        source=source,
        reads=reads,
        original=of(BEFORE),
        value=of(AFTER),
        reference=float(np.mean(references)) if references else None,
    )


def some(side: Side, rows: int, rng: np.random.Generator) -> Side:
    """At most so many rows, drawn without replacement, in their own order."""
    return side if len(side) <= rows else side.take(np.sort(rng.permutation(len(side))[:rows]))
