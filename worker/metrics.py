"""Distances between two samples of scores, accuracy, and the average gap. Scores: higher = member; ties count one half.
"""

from dataclasses import astuple, dataclass
from typing import Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from service.errors import BadInput
from worker.signals import Array


def placements(scores: ArrayLike, others: ArrayLike, weights: ArrayLike | None = None) -> Array:
    """For each score the (weighted) share of the others below it, (n,)."""
    scores, others = np.asarray(scores, float), np.asarray(others, float)
    order = np.argsort(others, kind="stable")
    w = np.ones(len(others)) if weights is None else np.asarray(weights, float)[order]
    below = np.concatenate([[0.0], np.cumsum(w)])
    left, right = (np.searchsorted(others[order], scores, side=side) for side in ("left", "right"))
    return (below[left] + below[right]) / (2 * below[-1])


def auc(member: ArrayLike, other: ArrayLike, weights: ArrayLike | None = None) -> float:
    """Chance that a member outranks another row; `weights` are of the others."""
    return float(placements(member, other, weights).mean())


def ks(a: ArrayLike, b: ArrayLike) -> float:
    """Kolmogorov–Smirnov distance: the largest gap between two distribution functions."""
    a, b = np.sort(np.asarray(a, float)), np.sort(np.asarray(b, float))
    at = np.concatenate([a, b])
    share = [np.searchsorted(x, at, side="right") / len(x) for x in (a, b)]
    return float(np.abs(share[0] - share[1]).max())


def correct(logits: ArrayLike, labels: ArrayLike) -> Array:
    """1 where the largest logit is the label's, else 0; of tied logits the first counts."""
    return (np.asarray(logits).argmax(axis=1) == np.asarray(labels)).astype(float)


def accuracy(logits: ArrayLike, labels: ArrayLike) -> float:
    """Share of rows whose class is predicted."""
    return float(correct(logits, labels).mean())


class WeightedAuc:
    """AUC of the same scores under many weightings at once, as the bootstrap asks for it.

    Scores are sorted once; a weighting costs a cumulative sum over the others, and a look at it for each member.
    """

    def __init__(self, member: ArrayLike, other: ArrayLike) -> None:
        member, other = np.asarray(member, float), np.asarray(other, float)
        self._order = np.argsort(other, kind="stable")
        left, right = (np.searchsorted(other[self._order], member, side=side) for side in ("left", "right"))
        self._at = (left,) if (left == right).all() else (left, right)      # without ties one look is enough

    def __call__(self, member: Array, other: Array) -> Array:
        """Weights (B, n) of the members and (B, m) of the others → AUC (B,)."""
        below = cumulated(other, self._order)
        pairs = sum(np.einsum("bn,bn->b", member, below.take(at, axis=1)) for at in self._at)
        total = len(self._at) * member.sum(axis=1) * below[:, -1]
        return np.divide(pairs, total, out=np.full(len(total), 0.5), where=total > 0)   # no pair at all: no knowledge


def cumulated(weights: Array, order: NDArray[np.integer]) -> Array:
    """Sums (B, n + 1) of the first 0, 1 … n of the weights (B, n) in this order."""
    sums = np.zeros((len(weights), len(order) + 1))
    np.add.accumulate(weights.take(order, axis=1), axis=1, out=sums[:, 1:])
    return sums


@dataclass(frozen=True)
class Performance:
    """What the average gap compares, in percent; or four differences of these."""

    UA: float       # unlearning accuracy: 100 − accuracy on the forget rows
    RA: float       # accuracy on the retain rows
    TA: float       # accuracy on the test rows
    MIA: float      # forget rows that an attack takes for rows never trained on

    @classmethod
    def of(cls, *, forget: float, retain: float, test: float, unseen: float) -> Self:
        """From the three accuracies, and the share of forget rows taken for unseen ones, all in [0, 1]."""
        return cls(UA=100 * (1 - forget), RA=100 * retain, TA=100 * test, MIA=100 * unseen)

    def minus(self, other: "Performance") -> "Performance":
        """The four differences, in points of percent."""
        return Performance(self.UA - other.UA, self.RA - other.RA, self.TA - other.TA, self.MIA - other.MIA)


@dataclass(frozen=True)
class AverageGap:
    """How far a model is from a retrained one, in points of percent: (|ΔUA| + |ΔRA| + |ΔTA| + |ΔMIA|) / 4."""

    average: float
    gaps: Performance       # signed, the model's less the reference's


@dataclass(frozen=True)
class BothGaps:
    """Against two references, because an augmentation changes the one that it is used for."""

    same: AverageGap        # retrained with the augmentation that the model had
    baseline: AverageGap    # retrained with the usual one

    @classmethod
    def of(cls, model: Performance, *, same: Performance, baseline: Performance) -> Self:
        """One model against both: an augmentation that only makes its own reference easier shows up in the second."""
        return cls(average_gap(model, same), average_gap(model, baseline))


def average_gap(model: Performance, reference: Performance) -> AverageGap:
    """Source: Fan et al. 2024, arXiv:2310.12508, section 5."""
    gaps = model.minus(reference)
    return AverageGap(float(np.abs(astuple(gaps)).mean()), gaps)


def relative_reduction(augmented: AverageGap, base: AverageGap) -> float:
    """1 − AG_augmented / AG_base: the share of the base's gap that is gone; negative where it has grown.

    Raises:
        BadInput: the base has no gap that could be reduced.
    """
    if not base.average:
        raise BadInput("the base has no gap, so there is nothing to reduce")
    return 1 - augmented.average / base.average
