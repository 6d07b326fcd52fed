"""What an attack achieves at a threshold: the ROC curve, the rate at a low false positive rate, balanced accuracy."""

from typing import Final

import numpy as np
from scipy.stats import beta

from service.domain.policy import ScoredSignal
from service.domain.report import Interval, Roc, TprAt
from worker.comparison import AFTER, BEFORE, REFERENCES
from worker.metrics import cumulated
from worker.resampling import Mask, Pool
from worker.signals import Array, Labels

RATES: Final = (0.01, 0.001)
EXPECTED: Final = 10        # held-out units above a threshold, for the rate above it to mean something
POINTS: Final = 25          # of a curve
LOWEST: Final = 1e-4        # false positive rate of a curve
ROUNDING: Final = 1 + 1e-6


class Rates:
    """TPR at given false positive rates under many weightings: at the lowest threshold whose FPR is not above each."""

    def __init__(self, member: Array, other: Array, fpr: Array) -> None:
        self.fpr = fpr
        self._others, self._members = np.argsort(-other, kind="stable"), np.argsort(-member, kind="stable")
        self._thresholds = np.append(other[self._others], -np.inf)
        self._caught = np.searchsorted(-member[self._members], -self._thresholds)     # members over each of them

    def __call__(self, member: Array, other: Array) -> Array:
        """Weights (B, n) of the members and (B, m) of the others → TPR (B, len(fpr))."""
        caught = cumulated(member, self._members)
        found = np.take_along_axis(caught, self._caught[self._places(other)], 1)
        return np.divide(found, caught[:, -1:], out=np.zeros_like(found), where=caught[:, -1:] > 0)

    def thresholds(self, other: Array) -> Array:
        """(B, len(fpr)): a row is called a member if it exceeds this."""
        return self._thresholds[self._places(other)]

    def _places(self, other: Array) -> Labels:
        passed = cumulated(other, self._others)[:, 1:]
        return np.stack([np.searchsorted(row, self.fpr * row[-1] * ROUNDING, side="right") for row in passed])


def tpr_at(scores: Array, of: Pool) -> tuple[TprAt, ...]:
    """At 1 % and 0.1 %; the threshold is taken as given, as it rests on at least ten held-out units.

    The interval is Clopper–Pearson's, for as many rows as there are persons to forget: rows of one may all agree.
    """
    n, rates = of.forget, Rates(scores[: of.forget], scores[of.forget :], np.array(RATES))
    weights = np.ones((1, n)), of.balance[None, n:]
    found = zip(RATES, rates(*weights)[0], rates.thresholds(weights[1])[0], strict=True)
    return tuple(_at(*each, scores, of) for each in found)


def _at(fpr: float, tpr: float, threshold: float, scores: Array, of: Pool) -> TprAt:
    units = of.unit[of.forget :]
    above = len(np.unique(units[scores[of.forget :] > threshold]))
    estimable = len(np.unique(units)) * fpr >= EXPECTED / ROUNDING and above >= EXPECTED / 2    # fewer: many ties
    persons = len(np.unique(of.unit[: of.forget]))
    return TprAt(
        fpr=fpr,
        estimable=estimable,
        n_false_positives=above,
        value=tpr if estimable else None,
        ci95=clopper_pearson(tpr * persons, persons, 0.95) if estimable else None,
    )


def clopper_pearson(hits: float, n: float, level: float) -> Interval:
    """Exact interval of a share; hits need not be whole."""
    tail = (1 - level) / 2
    low = float(beta.ppf(tail, hits, n - hits + 1)) if hits > 0 else 0.0
    return low, float(beta.isf(tail, hits + 1, n - hits)) if hits < n else 1.0


def balanced_accuracy(scores: Array, of: Pool, rng: np.random.Generator) -> float | None:
    """½(TPR + TNR) at a threshold, and in a direction, found on the other half of the units; mean of both halves.

    None with a single unit on a side.
    """
    half = _half(of, rng)
    if half is None:
        return None
    w = np.concatenate([np.ones(of.forget), of.balance[of.forget :]])
    learnt = [(_threshold(scores, w, of, mask), ~mask) for mask in (half, ~half)]
    return float(np.mean([0.5 + sign * _youden(scores >= t, w, of, mask) / 2 for (t, sign), mask in learnt]))


def _half(of: Pool, rng: np.random.Generator) -> Mask | None:
    """(N,) bool: half of each side's units."""
    last = of.unit[: of.forget].max()
    chosen = np.zeros(of.unit.max() + 1, bool)
    for units in (np.arange(last + 1), np.arange(last + 1, len(chosen))):
        if len(units) < 2:
            return None
        chosen[rng.permutation(units)[: len(units) // 2]] = True
    return chosen[of.unit]


def _threshold(scores: Array, w: Array, of: Pool, mask: Mask) -> tuple[float, int]:
    """The score from which a row is called a member, and 1; or −1 where calling it one is better turned round."""
    order = np.flatnonzero(mask)[np.argsort(-scores[mask], kind="stable")]
    member = order < of.forget
    gain = np.where(member, w[order] / w[order][member].sum(), -w[order] / w[order][~member].sum()).cumsum()
    ends = np.append(np.diff(scores[order]) != 0, True)         # no threshold parts equal scores
    best = int(np.flatnonzero(ends)[np.abs(gain[ends]).argmax()])
    below = min(best + 1, len(order) - 1)
    return float(scores[order[[best, below]]].mean()), 1 if gain[best] >= 0 else -1


def _youden(called: Mask, w: Array, of: Pool, mask: Mask) -> float:
    member = np.arange(len(w)) < of.forget
    rates = [(called * w)[mask & side].sum() / w[mask & side].sum() for side in (member, ~member)]
    return float(rates[0] - rates[1])


def grid(of: Pool) -> Array:
    """False positive rates in equal logarithmic steps, from the least that this holdout can show."""
    units = len(np.unique(of.unit[of.forget :]))
    return np.geomspace(max(LOWEST, 1 / units), 1, POINTS)


def curve(scores: Array, of: Pool) -> Rates:
    """The statistic that draws a model's ROC curve."""
    return Rates(scores[: of.forget], scores[of.forget :], grid(of))


def roc(signal: ScoredSignal, scores: Array, of: Pool, drawn: Array) -> Roc:
    """Of one signal's scores (models, N); `drawn` (B, points) is the curve after, under the bootstrap's weights."""
    weights = np.ones((1, of.forget)), of.balance[None, of.forget :]
    curves = np.array([curve(s, of)(*weights)[0] for s in scores])
    low, high = np.quantile(drawn, [0.025, 0.975], axis=0)
    return Roc(
        signal=signal,
        fpr=tuple(grid(of)),
        tpr_before=tuple(curves[BEFORE]),
        tpr_after=tuple(curves[AFTER]),
        band_after=tuple(zip(low, high, strict=True)),
        tpr_reference=tuple(curves[REFERENCES].mean(axis=0)) if len(scores) > 2 else None,
    )
