"""How sure: bootstrap intervals, an exact permutation test over several signals, equivalence and power."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil, inf, sqrt

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import root_scalar
from scipy.stats import norm, rankdata

from worker.metrics import WeightedAuc, placements
from worker.resampling import Pool, bootstraps, permutations
from worker.signals import Array, Labels

Interval = tuple[float, float]


def matched_auc(scores: Array, of: Pool) -> float:
    """AUC of the forget rows (the first) against the holdout rows, weighted to the same share of each class."""
    return float(placements(scores[: of.forget], scores[of.forget :], of.balance[of.forget :]).mean())


def bootstrap_aucs(scores: Sequence[Array], of: Pool, draws: int, rng: np.random.Generator) -> Array:
    """Matched AUCs (len(scores), draws); a draw takes the same rows for all, so their differences are paired."""
    attacks = [WeightedAuc(s[: of.forget], s[of.forget :]) for s in scores]
    return np.concatenate(
        [np.stack([attack(*weights) for attack in attacks]) for weights in bootstraps(of, draws, rng)], axis=1
    )


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


@dataclass(frozen=True)
class Permuted:
    """p-values of |AUC − ½|: of each signal alone, of each beside the others (single-step maxT), and of the largest."""

    p: Array            # (S,)
    adjusted: Array     # (S,)
    statistic: float    # max over the signals of |AUC − ½|

    @property
    def p_max(self) -> float:
        return float(self.adjusted.min())


def permutation_test(scores: Array, of: Pool, draws: int, rng: np.random.Generator) -> Permuted:
    """Are the forget rows' scores (S, N) like the holdout's? Exact if units of one profile are then exchangeable."""
    seen = np.abs(_permuted_aucs(scores, of, np.arange(of.forget)[None]) - 0.5)[:, 0] - 1e-12   # equal is not smaller
    above, above_max = np.ones(len(scores)), np.ones(len(scores))
    for index in permutations(of, draws, rng):
        drawn = np.abs(_permuted_aucs(scores, of, index) - 0.5)
        above += (drawn >= seen[:, None]).sum(axis=1)
        above_max += (drawn.max(axis=0) >= seen[:, None]).sum(axis=1)
    return Permuted(above / (1 + draws), above_max / (1 + draws), float(seen.max() + 1e-12))


def auc_variance(auc: float, n: float, m: float) -> float:
    """Variance of an AUC of n against m rows (Hanley and McNeil 1982, exponential scores)."""
    q1, q2 = auc / (2 - auc), 2 * auc**2 / (1 + auc)
    return (auc * (1 - auc) + (n - 1) * (q1 - auc**2) + (m - 1) * (q2 - auc**2)) / (n * m)


def detectable_auc(n: float, m: float, *, alpha: float, power: float) -> float:
    """Smallest AUC that a two-sided test at `alpha` finds with this power; 1 if it finds none."""
    critical = norm.isf(alpha / 2) * sqrt(auc_variance(0.5, n, m))

    def missing(auc: float) -> float:
        return float(auc - 0.5 - critical - norm.ppf(power) * sqrt(max(0.0, auc_variance(auc, n, m))))

    return float(root_scalar(missing, bracket=(0.5, 1.0)).root) if missing(1.0) > 0 else 1.0


def equivalence_power(margin: float, se: float) -> float:
    """Chance that two one-sided tests at .05 find a difference of exactly 0 to be inside the margin."""
    return max(0.0, float(2 * norm.cdf(margin / se - norm.isf(0.05)) - 1))


def rows_for_equivalence(margin: float, power: float, *, ratio: float = 1.0, variances: float = 1.0) -> float:
    """Units on the smaller side that this power needs.

    Args:
        ratio: units on the other side for each unit on this one.
        variances: variance of the difference in variances of one AUC: 1 against a fixed value, 2 against another AUC.
    """
    se = margin / (norm.isf(0.05) + norm.ppf((1 + power) / 2))
    n = (1 + 1 / ratio) * variances / (12 * se**2)      # (n + m + 1) / 12nm, the variance at ½
    return ceil(n) if n < inf else inf


def cluster_interval(values: Array, groups: Labels | None, level: float) -> Interval:
    """Normal interval of a mean whose rows fall into persons; [−∞, ∞] for a single one."""
    unit = np.arange(len(values)) if groups is None else np.unique(groups, return_inverse=True)[1]
    persons = int(unit.max()) + 1
    if persons < 2:
        return -inf, inf
    moves = np.bincount(unit, values - values.mean()) / len(values)
    half = norm.ppf((1 + level) / 2) * sqrt((moves**2).sum() * persons / (persons - 1))
    return float(values.mean() - half), float(values.mean() + half)


def _permuted_aucs(scores: Array, of: Pool, index: Labels) -> Array:
    """Matched AUCs (S, b) of the rows in `index` (b, forget) against all others.

    Σ_{f,h} w_h sign(s_f − s_h) is the sum over f of its signed weighted rank among all, less the pairs inside f.
    """
    return np.stack([0.5 + _signed_pairs(s, of, index) / (2.0 * of.forget**2) for s in scores])


def _signed_pairs(s: Array, of: Pool, index: Labels) -> Array:
    signed = (2 * placements(s, s, of.balance) - 1) * of.balance.sum()
    pairs = signed[index].sum(axis=1)
    w = of.balance[index[0]]
    if np.ptp(w) > 0:       # with one weight the pairs inside f cancel
        pairs += (2 * rankdata(s[index], axis=1) - index.shape[1] - 1) @ w
    return pairs


def _centred(moves: Array, strata: Labels) -> Array:
    return moves - (np.bincount(strata, moves) / np.bincount(strata))[strata]


def _quantiles(draws: Array, z: NDArray[np.float64]) -> Interval:
    low, high = np.quantile(draws, norm.cdf(z))
    return float(low), float(high)
