"""Forget rows beside holdout rows of the same classes, and how they may be drawn again: by person, within classes."""

from dataclasses import dataclass
from functools import cached_property
from typing import Final

import numpy as np
from numpy.typing import NDArray

from worker.signals import Array, Labels

FEW: Final = 5      # rows of a class on one side; drawn within so small a class, they would hardly vary
Mask = NDArray[np.bool_]


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
        """(U,): a side of lone rows is drawn within classes; one with persons, or with a rare class, as a whole."""
        on_forget = np.arange(self.unit.max() + 1) <= self.unit[: self.forget].max()
        by_class = np.where(on_forget, _lone(self, slice(self.forget)), _lone(self, slice(self.forget, None)))
        return np.unique(np.where(by_class, self.profiles, -1) * 2 + on_forget, return_inverse=True)[1]


def pool(y: tuple[Labels, Labels], groups: tuple[Labels | None, Labels | None]) -> Pool:
    """Both sides in one; rows without a person stand for themselves."""
    of_f, of_h = (_numbered(labels, g) for labels, g in zip(y, groups, strict=True))
    return Pool(np.concatenate(y), np.concatenate([of_f, of_h + of_f.max() + 1]), len(y[0]))


class Bootstrap:
    """Units drawn with replacement, each side and stratum for itself; classes are balanced anew in every draw."""

    def __init__(self, of: Pool) -> None:
        self.of = of
        size = np.bincount(of.strata)
        self._order = np.argsort(of.strata, kind="stable")
        at = of.strata[self._order]
        self._first, self._span = (np.cumsum(size) - size)[at], size[at]
        self._lone = bool((of.unit == np.arange(len(of.y))).all())
        classes, c = np.unique(of.y, return_inverse=True)
        self._parts = [_Sums(part, len(classes)) for part in (c[: of.forget], c[of.forget :])]

    def draw(self, rng: np.random.Generator, draws: int) -> tuple[Array, Array]:
        """How often each row is drawn, (draws, forget), and what it counts, (draws, holdout)."""
        w = np.empty((draws, len(self._order)))
        for row in w:       # one draw at a time stays in the cache; one bincount over a block does not
            drawn = self._order[self._first + (rng.random(len(row)) * self._span).astype(np.int64)]
            row[:] = np.bincount(drawn, minlength=len(row))
        w = w if self._lone else w.take(self.of.unit, axis=1)
        w_f, w_h = w[:, : self.of.forget], w[:, self.of.forget :]
        f, h = (part(side) for part, side in zip(self._parts, (w_f, w_h), strict=True))
        ratio = np.divide(f, h, out=np.zeros_like(f), where=h > 0)
        return w_f, w_h * ratio.take(self._parts[1].c, axis=1)


class Relabelling:
    """Units of the same profile change sides, as a permutation test asks for it."""

    def __init__(self, of: Pool) -> None:
        self._strata = [(len(rows), k, rows.shape[1]) for rows, k in _strata(of)]
        self._inverse = np.argsort(np.concatenate([rows.ravel() for rows, _ in _strata(of)]))

    def draw(self, rng: np.random.Generator, draws: int) -> Mask:
        """(draws, N): the rows that take the forget side's place; of each class as many as there are."""
        parts = [_chosen(rng, draws, n, k).repeat(rows, axis=1) for n, k, rows in self._strata]
        return np.concatenate(parts, axis=1).take(self._inverse, axis=1)


class _Sums:
    """Sums of weights (B, n) over the rows of each class."""

    def __init__(self, c: Labels, classes: int) -> None:
        self.c, self._order = c, np.argsort(c, kind="stable")
        self._starts = np.searchsorted(c[self._order], np.arange(classes))

    def __call__(self, w: Array) -> Array:
        return np.add.reduceat(w.take(self._order, axis=1), self._starts, axis=1)


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


def _lone(of: Pool, side: slice) -> bool:
    counts = np.unique(of.y[side], return_counts=True)[1]
    return np.bincount(of.unit[side]).max() == 1 and counts.min() >= FEW


def _numbered(y: Labels, groups: Labels | None) -> Labels:
    return np.arange(len(y)) if groups is None else np.unique(groups, return_inverse=True)[1]


def _profiles(y: Labels, unit: Labels) -> Labels:
    if unit.max() + 1 == len(y):        # lone rows
        return np.unique(y[np.argsort(unit)], return_inverse=True)[1]
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


def _chosen(rng: np.random.Generator, draws: int, n: int, k: int) -> Mask:
    """k of n without replacement, (draws, n), each subset as likely: those with the k smallest of n random numbers."""
    if k in (0, n):
        return np.full((draws, n), k == n)
    numbers = rng.integers(0, 2**32, (draws, n), np.uint32)
    chosen = numbers <= np.partition(numbers, k - 1, axis=1)[:, k - 1 : k]
    again = chosen.sum(axis=1) != k     # two equal numbers at the border
    if again.any():
        chosen[again] = _chosen(rng, int(again.sum()), n, k)
    return chosen
