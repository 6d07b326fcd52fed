"""Distances between two samples of scores, and accuracy. Scores: higher = member; ties count one half."""

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import sparse

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

    The others are counted in the 2u + 1 cells that the members' u distinct scores cut the line into (odd cell: a tie),
    so a weighting costs one sparse product and a cumulative sum, not a sort.
    """

    def __init__(self, member: ArrayLike, other: ArrayLike) -> None:
        values, rank = np.unique(np.asarray(member, float), return_inverse=True)
        cell = sum(np.searchsorted(values, np.asarray(other, float), side=side) for side in ("left", "right"))
        self._members = _counter(rank, len(values))
        self._others = _counter(np.asarray(cell), 2 * len(values) + 1)

    def __call__(self, member: NDArray[np.float32], other: NDArray[np.float32]) -> Array:
        """Weights (n, B) of the members and (m, B) of the others → AUC (B,)."""
        below = np.cumsum(self._others @ other, axis=0, dtype=np.float64)
        w = self._members @ member
        pairs = np.einsum("ub,ub->b", w, below[:-1:2] + below[1::2], dtype=np.float64)
        total = 2 * w.sum(axis=0, dtype=np.float64) * below[-1]
        return np.divide(pairs, total, out=np.full_like(pairs, 0.5), where=total > 0)   # no pair at all: no knowledge


def _counter(cell: NDArray[np.int64], cells: int) -> sparse.csr_array:
    n = len(cell)
    return sparse.csr_array((np.ones(n, np.float32), (cell, np.arange(n))), shape=(cells, n))
