"""Does a single person of the forget set stand out? Exact p-values against held-out persons, and Holm over persons."""

from collections.abc import Iterator
from typing import Final

import numpy as np

from service.domain.report import Compared, Person, Persons
from worker.comparison import AFTER, BEFORE, Comparison
from worker.resampling import Pool
from worker.signals import Array, Labels

ALIKE: Final = 20       # held-out persons with as many rows; fewer are too few to be the only ones compared with
SHOWN: Final = 20
LEVEL: Final = 0.05     # of reports, not of the alarm


def persons(tried: Comparison) -> Persons:
    """The headline signal's mean over each person's rows, before and after.

    A person is compared with held-out persons with the same labels, each as often, where these are enough for one
    person to be significant after Holm; else with those with as many rows, where these are 20; else with all. Scores
    count from the held-out mean of their class, so that a hard class is no memory; where labels differ, p is exact but
    for the error of these means, and where numbers of rows differ, it is only a guide.
    """
    before, after = (_means(tried.scores[model, tried.headline], tried.of) for model in (BEFORE, AFTER))
    n = _forgotten(tried.of)
    p_before, p_after, least, how = np.ones(n), np.ones(n), np.ones(n), np.zeros(n, int)
    for level, mine, theirs in _alike(tried.of):
        p_before[mine], p_after[mine] = (conformal(s[mine], s[theirs]) for s in (before, after))
        least[mine], how[mine] = 2 / (len(theirs) + 1), level
    adjusted, rows = holm(p_after), np.bincount(tried.of.unit)
    order = np.lexsort((np.arange(n), -np.abs(after[:n] - np.median(after[n:])), p_after))[:SHOWN]
    return Persons(
        n_tested=n,
        level=LEVEL,
        n_significant_holm=int((adjusted <= LEVEL).sum()),
        smallest_possible_p=least.min(),
        shown=tuple(
            Person(
                rank=rank,
                n_rows=int(rows[u]),
                compared_with=HOW[how[u]],
                p_before=float(p_before[u]),
                p_after=float(p_after[u]),
                p_holm=float(adjusted[u]),
            )
            for rank, u in enumerate(order, 1)
        ),
    )


HOW: Final[tuple[Compared, ...]] = ("same_labels", "same_number_of_rows", "all")


def conformal(score: Array, held_out: Array) -> Array:
    """Two-sided p of each score (n,): twice the smaller share of the held-out, and itself, as high, or as low."""
    ordered = np.sort(held_out)
    low = np.searchsorted(ordered, score, side="right")
    high = len(ordered) - np.searchsorted(ordered, score, side="left")
    return np.minimum(1, 2 * (1 + np.minimum(low, high)) / (1 + len(ordered)))


def holm(p: Array) -> Array:
    """Adjusted p-values (Holm 1979): any number of rejections, all of them paid for."""
    order = np.argsort(p, kind="stable")
    steps = np.maximum.accumulate((len(p) - np.arange(len(p))) * p[order])
    adjusted = np.empty(len(p))
    adjusted[order] = np.minimum(1, steps)
    return adjusted


def _forgotten(of: Pool) -> int:
    return int(of.unit[: of.forget].max()) + 1


def _means(scores: Array, of: Pool) -> Array:
    c = np.unique(of.y, return_inverse=True)[1]
    usual = np.bincount(c[of.forget :], scores[of.forget :]) / np.bincount(c[of.forget :])
    return np.bincount(of.unit, scores - usual[c]) / np.bincount(of.unit)


def _alike(of: Pool) -> Iterator[tuple[int, Labels, Labels]]:
    """How they are alike, units to forget, and the held-out units to compare them with; each to forget occurs once."""
    n = _forgotten(of)
    left = np.ones(n, bool)
    least = 2 * n / LEVEL - 1, ALIKE, 0
    for level, kind in enumerate((of.profiles, np.bincount(of.unit), np.zeros(len(of.profiles), int))):
        held = np.bincount(np.searchsorted(np.unique(kind), kind[n:]), minlength=len(np.unique(kind)))
        for value, many in zip(np.unique(kind), held, strict=True):
            mine = np.flatnonzero(left & (kind[:n] == value))
            if len(mine) and many >= least[level]:
                yield level, mine, n + np.flatnonzero(kind[n:] == value)
                left[mine] = False
