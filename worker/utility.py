"""Did the model stay useful? Accuracies with intervals over persons, and the guard."""

from collections.abc import Sequence

import numpy as np
from scipy.stats import norm

from service.domain.report import Accuracy, Utility
from worker.signals import Array, Labels
from worker.statistics import Interval, cluster_interval

Models = tuple[Array, Array, Sequence[Array]]       # correct rows, (n,) each: before, after, references


def utility(
    retain: Accuracy, forget: Accuracy, holdout: Accuracy | None, *, margin: float, retain_margin: float, k: int
) -> Utility:
    """The guard looks at the estimates, the margin at the intervals; only a drop counts against the model."""
    watched = [(retain, retain_margin)] + ([] if holdout is None else [(holdout, margin)])
    return Utility(
        baseline="reference" if k else "before",
        margin=margin,
        retain_margin=retain_margin,
        retain=retain,
        forget=forget,
        holdout=holdout,
        guard="pass" if all(each.gap >= -allowed for each, allowed in watched) else "fail",
        within_margin=holdout is not None and all(each.gap_ci90[0] > -allowed for each, allowed in watched),
    )


def accuracy(right: Models, groups: Labels | None) -> Accuracy:
    """Accuracy on one set of rows, before, after and of the references' mean."""
    before, after, references = right
    reference = np.mean(references, axis=0) if len(references) else None
    gap = after - (before if reference is None else reference)
    low, high = cluster_interval(gap, groups, 0.9)
    return Accuracy(
        n=len(after),
        before=before.mean(),
        before_ci95=share_interval(before, groups, 0.95),
        after=after.mean(),
        after_ci95=share_interval(after, groups, 0.95),
        reference=None if reference is None else reference.mean(),
        reference_ci95=None if reference is None else share_interval(reference, groups, 0.95),
        gap=gap.mean(),
        gap_ci90=(max(low, -1.0), min(high, 1.0)),
    )


def share_interval(right: Array, groups: Labels | None, level: float) -> Interval:
    """Wilson's interval, for as many independent rows as the persons' spread says there are."""
    unit = np.arange(len(right)) if groups is None else np.unique(groups, return_inverse=True)[1]
    p, z = float(right.mean()), float(norm.ppf((1 + level) / 2))
    moves = np.bincount(unit, right - p) / len(right)
    variance = float((moves**2).sum())
    n = p * (1 - p) / variance if variance > 0 else float(unit.max() + 1)
    centre, half = p + z**2 / (2 * n), z * (p * (1 - p) / n + z**2 / (4 * n**2)) ** 0.5
    return max(0.0, (centre - half) / (1 + z**2 / n)), min(1.0, (centre + half) / (1 + z**2 / n))
