"""Is it chance? Tests of several signals at once; the largest pays for having been chosen (single-step maxT)."""

from dataclasses import dataclass
from typing import Final

import numpy as np

from worker.metrics import placements
from worker.parallel import blocks
from worker.resampling import Mask, Pool, Relabelling
from worker.signals import Array, Labels

EQUAL: Final = 1e-12    # as large, but for rounding


@dataclass(frozen=True)
class Tested:
    """Two-sided p-values of distances: of each signal alone, of each beside the others, and of the largest."""

    p: Array            # (S,)
    adjusted: Array     # (S,)
    statistic: float    # the largest distance

    @property
    def p_max(self) -> float:
        return float(self.adjusted.min())


def permutation_test(scores: Array, of: Pool, draws: int, rng: np.random.Generator) -> Tested:
    """Are the forget rows' scores (S, N) like the holdout's? Distance: |AUC − ½|.

    Exact if units of one profile are then exchangeable.
    """
    attacks, relabelled = [_Relabelled(s, of) for s in scores], Relabelling(of)
    as_it_is = (np.arange(len(of.y)) < of.forget)[None]
    seen = np.abs([attack(as_it_is)[0] - 0.5 for attack in attacks])

    def block(stream: np.random.Generator, size: int) -> tuple[Array, Array]:
        chosen = relabelled.draw(stream, size)
        return _exceeding(np.abs(np.stack([attack(chosen) for attack in attacks]) - 0.5), seen)

    above, above_max = (np.sum(each, axis=0) for each in zip(*blocks(block, draws, len(of.y), rng), strict=True))
    return Tested((1 + above) / (1 + draws), (1 + above_max) / (1 + draws), float(seen.max()))


def sign_flip_test(gaps: Array, moves: Array, strata: Labels, draws: int, rng: np.random.Generator) -> Tested:
    """Do two sides' AUCs differ, measured on the same units? Distance: |gap|; compared in standard errors.

    Ours: a gap is, to first order, the sum of the units' paired influences, and where the true gap is 0 each of these
    may as well have had the other sign. So the gaps are compared with sums under random signs, one sign per unit for
    all signals (a wild bootstrap of Rademacher weights: Wu 1986, Liu 1988; for several outcomes Westfall and Young
    1993). No exchangeability of the rows is asked for, so the rows may have been chosen by anybody; it is no exact
    test, and conditional on the models that are compared.

    Args:
        gaps: (S,) differences of AUCs.
        moves: (S, U) influences of the units on them, centred in each stratum.
        strata: (U,) the groups that units were drawn in; the lone unit of one has no spread, so it must have others.
    """
    size = np.bincount(strata)[strata]
    moves = moves * np.sqrt(size / np.maximum(size - 1, 1))     # centring took one degree of freedom
    spread = np.sqrt((moves**2).sum(axis=1))[:, None]
    seen = np.abs(gaps)[:, None]
    t = np.divide(seen, spread, out=np.where(seen > EQUAL, np.inf, 0.0), where=spread > EQUAL)[:, 0]
    unit = np.divide(moves, spread, out=np.zeros_like(moves), where=spread > EQUAL).T

    def block(stream: np.random.Generator, size: int) -> tuple[Array, Array]:
        signs = 2.0 * stream.integers(0, 2, (size, len(unit)), np.int8) - 1
        return _exceeding(np.abs(signs @ unit).T, t)

    above, above_max = (np.sum(each, axis=0) for each in zip(*blocks(block, draws, len(unit), rng), strict=True))
    return Tested((1 + above) / (1 + draws), (1 + above_max) / (1 + draws), float(seen.max()))


def _exceeding(drawn: Array, seen: Array) -> tuple[Array, Array]:
    """How many draws (S, b) are as large as what was seen (S,): each signal's own, and the largest of all."""
    enough = seen[:, None] - EQUAL
    return (drawn >= enough).sum(axis=1), (drawn.max(axis=0) >= enough).sum(axis=1)


class _Relabelled:
    """Matched AUCs of one signal when other rows take the forget side's place.

    Σ_{f,h} w_h sign(s_f − s_h) is the sum over f of its signed weighted rank among all, less the pairs inside f; these
    cancel where all classes have one weight, and else come from a count of the rows of f below each of them.
    """

    def __init__(self, s: Array, of: Pool) -> None:
        self._order = np.argsort(s, kind="stable")
        self._signed = (2 * placements(s, s, of.balance) - 1)[self._order] * of.balance.sum()
        self._weights = of.balance[self._order] if np.ptp(of.balance) > 0 else None
        ordered = s[self._order]
        bounds = [np.searchsorted(ordered, ordered, side=side) for side in ("left", "right")]
        self._ties = bounds if (bounds[1] - bounds[0]).max() > 1 else None

    def __call__(self, chosen: Mask) -> Array:
        """Rows (b, N) that take the forget side's place, as many in each line → AUCs (b,)."""
        chosen = chosen.take(self._order, axis=1)
        first = len(self._order) * np.arange(len(chosen))[:, None]
        at = np.flatnonzero(chosen).reshape(len(chosen), -1) - first        # in the order of their scores
        n = at.shape[1]
        pairs = self._signed.take(at).sum(axis=1)
        if self._weights is not None:
            inside = 2 * np.arange(n) + 1 - n if self._ties is None else _midranks(chosen, at, self._ties)
            pairs += (self._weights.take(at) * inside).sum(axis=1)
        return 0.5 + pairs / (2.0 * n**2)


def _midranks(chosen: Mask, at: Labels, ties: list[Labels]) -> Array:
    """Twice the rank of each chosen row among the chosen, ties in the middle, about 0."""
    count = np.zeros((len(chosen), chosen.shape[1] + 1), np.int32)
    np.cumsum(chosen, axis=1, dtype=np.int32, out=count[:, 1:])
    low, high = (np.take_along_axis(count, bound.take(at), 1) for bound in ties)
    return (low + high).astype(float) - at.shape[1]
