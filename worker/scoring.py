"""The scores that the verdict rests on: each planned signal of every model, forget rows first, higher = member."""

import numpy as np

from service.domain.policy import Signal
from service.domain.recipes import Reference
from worker.case import Case
from worker.rmia import relative
from worker.signals import Array, scores


def scored(case: Case) -> Array:
    """(models, signals, N) of the matched forget and holdout rows."""
    f, h = case.matched
    y = np.concatenate([f.y, h.y])
    pooled = [np.concatenate(pair) for pair in zip(f.logits, h.logits, strict=True)]
    plain = np.array([_plain(z, y, case.plan.signals) for z in pooled])
    rung = next((rung for rung in case.plan.rungs if isinstance(rung, Reference)), None)
    return plain if rung is None else np.concatenate([plain, relative(case, rung, pooled, y)], axis=1)


def _plain(z: Array, y: np.ndarray, signals: tuple[Signal, ...]) -> list[Array]:
    return list(scores(z, y, signals).values())
