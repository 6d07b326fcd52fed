"""Losses of forget and holdout rows before and after: the figure of the paper of ∇τ."""

from typing import Final

import numpy as np

from service.domain.report import Histogram
from worker.case import Case
from worker.resampling import pool
from worker.signals import loss

BINS: Final = 24
BEFORE, AFTER = 0, 1


def histogram(case: Case) -> Histogram:
    """On one scale for all; its last bin takes what lies beyond 99 %."""
    f, h = case.matched
    losses = [loss(side.logits[model], side.y) for model in (BEFORE, AFTER) for side in (f, h)]
    edges = np.linspace(0, max(float(np.quantile(np.concatenate(losses), 0.99)), 1e-6), BINS + 1)
    weights = pool((f.y, h.y), (None, None)).balance[len(f) :]
    f_before, h_before, f_after, h_after = (np.minimum(values, edges[-1]) for values in losses)
    return Histogram(
        edges=tuple(edges),
        forget_before=tuple(np.histogram(f_before, edges)[0]),
        forget_after=tuple(np.histogram(f_after, edges)[0]),
        holdout_before=tuple(np.histogram(h_before, edges, weights=weights)[0]),
        holdout_after=tuple(np.histogram(h_after, edges, weights=weights)[0]),
    )
