"""Forget rows beside holdout rows of the same classes, and how they may be drawn again: by person, within classes."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Final

import numpy as np
from numpy.typing import NDArray

from worker.signals import Array, Labels

BLOCK_BYTES: Final = 16 * 2**20       # of one array; a block holds about four at a time
Weights = NDArray[np.float32]


@dataclass(frozen=True)
class Pool:
    """Rows of both sides, forget rows first; every class of the holdout rows occurs among the forget rows and back.

    Args:
        y: (N,) labels.
        unit: (N,) number of what moves as one, a person or a lone row, from 0 without gaps; no unit is on both sides.
        forget: how many rows, from the first, are forget rows.
    """

    y: Labels
    unit: Labels
    forget: int

    @cached_property
    def balance(self) -> Array:
        """(N,): what a row counts on the holdout side, so that both sides have the same share of each class."""
        _, c = np.unique(self.y, return_inverse=True)
        return (np.bincount(c[: self.forget]) / np.bincount(c[self.forget :]))[c]

    @cached_property
    def sizes(self) -> tuple[float, float]:
        """Independent units on each side: persons, the holdout's diminished by unequal weights (Kish)."""
        w, u = self.balance[self.forget :], self.unit
        persons = [len(np.unique(u[: self.forget])), len(np.unique(u[self.forget :]))]
        return float(persons[0]), float(w.sum() ** 2 / (w**2).sum() * persons[1] / len(w))

    @cached_property
    def profiles(self) -> Labels:
        """(U,): units with the same labels, as often, share a number; only they may change places."""
        return _profiles(self.y, self.unit)

    @cached_property
    def strata(self) -> Labels:
        """(U,): a side whose units are lone rows is drawn within classes, one with persons as a whole."""
        on_forget = np.zeros(self.unit.max() + 1, bool)
        on_forget[self.unit[: self.forget]] = True
        rows = np.bincount(self.unit)
        lone = np.where(on_forget, rows[on_forget].max(), rows[~on_forget].max()) == 1
        return np.unique(np.where(lone, self.profiles, -1) * 2 + on_forget, return_inverse=True)[1]


def pool(y: tuple[Labels, Labels], groups: tuple[Labels | None, Labels | None]) -> Pool:
    """Both sides in one; rows without a person stand for themselves."""
    of_f, of_h = (_numbered(labels, g) for labels, g in zip(y, groups, strict=True))
    return Pool(np.concatenate(y), np.concatenate([of_f, of_h + of_f.max() + 1]), len(y[0]))


def bootstraps(of: Pool, draws: int, rng: np.random.Generator) -> Iterator[tuple[Weights, Weights]]:
    """Blocks of weights, (forget, b) and (holdout, b): units drawn with replacement, classes balanced anew."""
    size = max(1, BLOCK_BYTES // (4 * len(of.y)))
    for start in range(0, draws, size):
        w = _multiplicities(of.strata, min(size, draws - start), rng)[of.unit]
        w_f, w_h = w[: of.forget], w[of.forget :]
        yield w_f, _balanced(w_f, w_h, of)


def permutations(of: Pool, draws: int, rng: np.random.Generator) -> Iterator[Labels]:
    """Blocks of rows (b, forget) that take the forget side's place; a column always holds the same class."""
    strata = [s for s in _strata(of) if s[1]]
    size = max(1, BLOCK_BYTES // (16 * max(len(rows) for rows, _ in strata) + 24 * of.forget))
    for start in range(0, draws, size):
        b = min(size, draws - start)
        yield np.concatenate([rows[_choose(rng, b, len(rows), k)].reshape(b, -1) for rows, k in strata], axis=1)


def halves(of: Pool, rng: np.random.Generator) -> tuple[Pool, Labels] | None:
    """The holdout against itself: units of each profile dealt to two sides; the new pool, and its rows' places."""
    rows = [s[rng.permutation(len(s))] for s in (_rows_of(of, u) for u in _holdout_profiles(of))]
    a = [s[: len(s) // 2].ravel() for s in rows]
    b = [s[len(s) // 2 : len(s) // 2 * 2].ravel() for s in rows]
    index = np.concatenate([*a, *b])
    if not len(index):
        return None
    n = len(index) // 2
    return pool((of.y[index[:n]], of.y[index[n:]]), (of.unit[index[:n]], of.unit[index[n:]])), index


def _numbered(y: Labels, groups: Labels | None) -> Labels:
    return np.arange(len(y)) if groups is None else np.unique(groups, return_inverse=True)[1]


def _multiplicities(strata: Labels, draws: int, rng: np.random.Generator) -> Weights:
    order = np.argsort(strata, kind="stable")
    size = np.bincount(strata)
    first, span = (np.cumsum(size) - size)[strata[order]], size[strata[order]]
    counts = np.empty((draws, len(strata)), np.float32)
    for row in counts:      # one draw at a time stays in the cache; one bincount over a block does not
        drawn = order[first + (rng.random(len(strata)) * span).astype(np.int64)]
        row[:] = np.bincount(drawn, minlength=len(strata))
    return np.ascontiguousarray(counts.T)


def _balanced(w_f: Weights, w_h: Weights, of: Pool) -> Weights:
    classes, c = np.unique(of.y, return_inverse=True)
    sums = []
    for w, part in ((w_f, c[: of.forget]), (w_h, c[of.forget :])):
        order = np.argsort(part, kind="stable")
        sums.append(np.add.reduceat(w[order], np.searchsorted(part[order], np.arange(len(classes)))))
    ratio = np.divide(sums[0], sums[1], out=np.zeros_like(sums[0]), where=sums[1] > 0)
    return w_h * ratio[c[of.forget :]]


def _profiles(y: Labels, unit: Labels) -> Labels:
    order = np.lexsort((y, unit))
    ends = np.cumsum(np.bincount(unit))[:-1]
    known: dict[bytes, int] = {}
    return np.array([known.setdefault(part.tobytes(), len(known)) for part in np.split(y[order], ends)], np.int64)


def _rows_of(of: Pool, units: Labels) -> Labels:
    """Rows (U, m) of units of one profile, by label, so that a column holds one class."""
    order = np.lexsort((of.y, of.unit))
    size = np.bincount(of.unit)
    first = np.cumsum(size) - size
    return order[first[units][:, None] + np.arange(int(size[units[0]]))]


def _strata(of: Pool) -> list[tuple[Labels, int]]:
    """Rows (U, m) of each profile, and how many of its units are on the forget side."""
    last_forget = of.unit[: of.forget].max()
    members = np.split(np.argsort(of.profiles, kind="stable"), np.cumsum(np.bincount(of.profiles))[:-1])
    return [(_rows_of(of, units), int((units <= last_forget).sum())) for units in members]


def _holdout_profiles(of: Pool) -> list[Labels]:
    last_forget = of.unit[: of.forget].max()
    units = np.arange(last_forget + 1, of.unit.max() + 1)
    return [units[of.profiles[units] == p] for p in np.unique(of.profiles[units])]


def _choose(rng: np.random.Generator, draws: int, n: int, k: int) -> Labels:
    """k of n without replacement, (draws, k), each subset as likely."""
    if k == n:
        return np.broadcast_to(np.arange(n), (draws, n))
    return np.argpartition(rng.random((draws, n)), k, axis=1)[:, :k]
