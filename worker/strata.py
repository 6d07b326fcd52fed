"""The headline signal on parts of the forget rows: single classes, and the rows that the original knew best.

They describe and are not judged: none is in the verdict, and their intervals are not paid for their number.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np

from service.domain.report import Interval, Stratum
from worker.case import MIN_PERSONS, Case
from worker.comparison import AFTER, BEFORE, REFERENCES, Comparison
from worker.metrics import WeightedAuc, auc, correct
from worker.resampling import Pool
from worker.signals import Array, Labels, confidence

LEAST: Final = 100      # forget rows of a class
MOST: Final = 20        # classes
TOP: Final = 0.1


@dataclass(frozen=True)
class Part:
    """Some rows of a pool, by their places on the forget and on the holdout side; a statistic of the bootstrap."""

    name: str
    forget: Labels
    holdout: Labels
    attack: WeightedAuc

    @classmethod
    def of(cls, name: str, rows: Labels, scores: Array, of: Pool) -> "Part":
        """Those where `rows` (N,) is true."""
        f, h = np.flatnonzero(rows[: of.forget]), np.flatnonzero(rows[of.forget :])
        return cls(name, f, h, WeightedAuc(scores[f], scores[of.forget + h]))

    def __call__(self, member: Array, other: Array) -> Array:
        """The part's AUC under weights of all rows; rows of a class keep their weights to each other."""
        return self.attack(member.take(self.forget, axis=1), other.take(self.holdout, axis=1))


def parts(case: Case, tried: Comparison) -> tuple[Part, ...]:
    """Classes with at least 100 forget rows, the largest 20; and the top tenth. Parts of few persons are withheld."""
    of, scores = tried.of, tried.scores[AFTER, tried.headline]
    classes, counts = np.unique(of.y[: of.forget], return_counts=True)
    largest = classes[np.argsort(-counts, kind="stable")[: min(MOST, int((counts >= LEAST).sum()))]]
    named = {f"class:{c}": of.y == c for c in np.sort(largest)}
    named["memorised:top_decile"] = _best_known(case, of)
    return tuple(
        Part.of(name, rows, scores, of) for name, rows in named.items()
        if min(len(np.unique(side)) for side in _units(of, rows)) >= MIN_PERSONS
    )


def stratum(part: Part, case: Case, tried: Comparison, drawn: Array) -> Stratum:
    """`drawn`: the part's AUC after, under the bootstrap's weights; the interval is the plain percentile one."""
    f, h = case.matched
    of, weights = tried.of, tried.of.balance[tried.of.forget + part.holdout]
    scores = tried.scores[:, tried.headline]
    aucs = [auc(s[part.forget], s[of.forget + part.holdout], weights) for s in scores]
    right = [correct(side.logits[AFTER], side.y) for side in (f, h)]
    return Stratum(
        name=part.name,
        n_member=len(part.forget),
        n_nonmember=len(part.holdout),
        auc_original=aucs[BEFORE],
        auc=aucs[AFTER],
        auc_ci95=_percentiles(drawn),
        auc_reference=float(np.mean(aucs[REFERENCES])) if tried.k else None,
        forget_accuracy=right[0][part.forget].mean(),
        heldout_accuracy=np.average(right[1][part.holdout], weights=weights),
    )


def _best_known(case: Case, of: Pool) -> Labels:
    """The top tenth of each class's forget rows by memory, beside the top tenth of its holdout rows by the same.

    Memory is how much more sure of the row the original is than retrained models are (φ less their mean φ); without
    these, φ itself, which is mostly how easy a row is. Both sides are chosen by the original's answers, because forget
    rows chosen so look known in any model: chosen easy rows have to be compared with chosen easy rows. Even so, a model
    that forgot perfectly need not have an AUC of ½ here: luck in the original's answers is a part of what is chosen,
    and the smaller, the more of the choice is memory. What it should have is the references' AUC, where there are any.
    """
    known, *others = (np.concatenate([confidence(s.logits[m], s.y) for s in case.matched]) for m in _asked(case))
    memory = known - np.mean(others, axis=0) if others else known
    best = np.zeros(len(memory), bool)
    for side in (np.arange(len(memory)) < of.forget, np.arange(len(memory)) >= of.forget):
        for c in np.unique(of.y):
            rows = np.flatnonzero(side & (of.y == c))
            best[rows[np.argsort(-memory[rows], kind="stable")[: round(TOP * len(rows))]]] = True
    return best


def _asked(case: Case) -> list[int]:
    return [BEFORE, *range(2, 2 + case.k)]


def _units(of: Pool, rows: Labels) -> tuple[Labels, Labels]:
    return of.unit[: of.forget][rows[: of.forget]], of.unit[of.forget :][rows[of.forget :]]


def _percentiles(drawn: Array) -> Interval:
    low, high = np.quantile(drawn, [0.025, 0.975])
    return float(low), float(high)
