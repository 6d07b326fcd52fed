"""How sure: intervals of AUCs and of means, by person."""

from collections.abc import Callable, Sequence
from math import inf, sqrt

import numpy as np
from numpy.typing import NDArray
from scipy.stats import norm

from worker.metrics import placements
from worker.parallel import blocks
from worker.resampling import Bootstrap, Pool
from worker.signals import Array, Labels

Interval = tuple[float, float]
Statistic = Callable[[Array, Array], Array]     # of weights (B, forget) and (B, holdout); (B, …)


def matched_auc(scores: Array, of: Pool) -> float:
    """AUC of the forget rows (the first) against the holdout rows, weighted to the same share of each class."""
    return float(placements(scores[: of.forget], scores[of.forget :], of.balance[of.forget :]).mean())


def bootstrap(statistics: Sequence[Statistic], of: Pool, draws: int, rng: np.random.Generator) -> list[Array]:
    """Each statistic under the same draws, (draws, …) each, so their differences are paired."""
    drawn = Bootstrap(of)

    def block(stream: np.random.Generator, size: int) -> list[Array]:
        weights = drawn.draw(stream, size)
        return [statistic(*weights) for statistic in statistics]

    parts = blocks(block, draws, len(of.y), rng)
    return [np.concatenate(each) for each in zip(*parts, strict=True)]


def influence(scores: Array, of: Pool) -> Array:
    """(U,): by how much each unit moves the matched AUC, to first order; their squares sum to its variance."""
    n, v = of.forget, of.balance[of.forget :]
    below = placements(scores[:n], scores[n:], v)
    above = 1 - placements(scores[n:], scores[:n])
    _, c = np.unique(of.y, return_inverse=True)
    of_class = np.bincount(c[n:], above) / np.bincount(c[n:])
    member = below + of_class[c[:n]] - 2 * below.mean()
    other = v * (above - of_class[c[n:]])
    return _centred(np.bincount(of.unit, np.concatenate([member, other]) / n).astype(float), of.strata)


def bca(draws: Array, estimate: float, moves: Array, level: float) -> Interval:
    """Bias-corrected and accelerated interval; its acceleration comes from the units' influences.

    Source: Efron 1987, Better Bootstrap Confidence Intervals; for several samples as in `scipy.stats.bootstrap`.
    """
    spread = (moves**2).sum() ** 1.5
    share = ((draws < estimate).sum() + (draws <= estimate).sum()) / (2 * len(draws))
    if not spread or not 0 < share < 1:     # nothing moves, or all on one side: the plain quantiles
        return _quantiles(draws, norm.ppf([(1 - level) / 2, (1 + level) / 2]))
    a, z0 = (moves**3).sum() / (6 * spread), norm.ppf(share)
    z = z0 + norm.ppf([(1 - level) / 2, (1 + level) / 2])
    return _quantiles(draws, z0 + z / (1 - a * z))


def inside(interval: Interval, margin: float) -> bool:
    """Two one-sided tests: a 90 % interval inside the margin rejects both that it is below and above, at .05 each."""
    return -margin < interval[0] and interval[1] < margin


def cluster_interval(values: Array, groups: Labels | None, level: float) -> Interval:
    """Normal interval of a mean whose rows fall into persons; [−∞, ∞] for a single one."""
    unit = np.arange(len(values)) if groups is None else np.unique(groups, return_inverse=True)[1]
    persons = int(unit.max()) + 1
    if persons < 2:
        return -inf, inf
    moves = np.bincount(unit, values - values.mean()) / len(values)
    half = norm.ppf((1 + level) / 2) * sqrt((moves**2).sum() * persons / (persons - 1))
    return float(values.mean() - half), float(values.mean() + half)


def _centred(moves: Array, strata: Labels) -> Array:
    return moves - (np.bincount(strata, moves) / np.bincount(strata))[strata]


def _quantiles(draws: Array, z: NDArray[np.float64]) -> Interval:
    low, high = np.quantile(draws, norm.cdf(z))
    return float(low), float(high)
