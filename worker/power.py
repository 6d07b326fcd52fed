"""What an audit can find, from the numbers of rows alone, so that it can be planned."""

from math import ceil, inf, sqrt
from typing import Final

import numpy as np
from scipy.optimize import root_scalar
from scipy.stats import norm

PAIRING: Final = 0.5        # ours, for planning only: correlation of two trainings' AUCs on the same rows
POINTS: Final = 25          # of a curve


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


def alarm_power(auc: float, n: float, m: float, *, alpha: float) -> float:
    """Chance that a two-sided test at `alpha` finds an AUC of this size."""
    critical = norm.isf(alpha / 2) * sqrt(auc_variance(0.5, n, m))
    spread = sqrt(max(0.0, auc_variance(auc, n, m)))
    if not spread:
        return float(abs(auc - 0.5) > critical)
    return float(norm.sf((critical - auc + 0.5) / spread) + norm.cdf((-critical - auc + 0.5) / spread))


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


def planned(margin: float, n: float, m: float, *, k: int) -> float:
    """Power to show equivalence with n units against m, beside k retrained models."""
    return equivalence_power(margin, sqrt(_variances(k) * auc_variance(0.5, n, m)))


def units_needed(margin: float, power: float, m: float, *, k: int) -> int | None:
    """Units to forget that give this power beside a holdout of m; None if no number does."""
    variances = _variances(k)
    room = 2 / rows_for_equivalence(margin, power) - variances / m
    return ceil(variances / room) if room > 0 else None


def power_curve(n: float, m: float, *, alpha: float, power: float) -> list[tuple[float, float]]:
    """(AUC, chance of an alarm), from ½ to twice as far as the smallest AUC that is found with this power."""
    furthest = min(1.0, 2 * detectable_auc(n, m, alpha=alpha, power=power) - 0.5)
    return [(auc, alarm_power(auc, n, m, alpha=alpha)) for auc in map(float, np.linspace(0.5, furthest, POINTS))]


def _variances(k: int) -> float:
    """Variance of the difference to the mean of k references, in variances of one AUC; 1 against a fixed ½."""
    return 1.0 if not k else (1 + 1 / k) * (1 - PAIRING)
