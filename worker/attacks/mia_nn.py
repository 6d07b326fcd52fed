"""Where do rows of a forgotten class go? MIA-NN, a reconstruction: the authors' code and settings were not available.

Unlearning Isn't Forgetting. Ebrahimpour-Boroojeny, Wang, Sundaram. ICML 2026. arXiv:2506.20893; there also CMIA.

A model trained without a class sends its rows to the nearest class that is left; one that only silences the class need
not. Attested are: the neighbour comes from several retrained models, an SVM learns from logits, it is judged on test
rows of the forgotten class, and the gap to retraining is the leak. Ours are the SVM's settings, the halves, and what it
sees: only columns of classes still taught, less their mean, so that a silenced logit alone proves nothing.

    separability   a row of the class, or of its neighbour? Balanced accuracy, each half judged by the other
    routing        neighbour against the other classes still taught; share of the class's rows taken for the neighbour

Histograms count the predicted class among all, the forgotten one too.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np
from scipy.special import softmax

from service.domain.recipes import ClassRouting as Recipe
from service.domain.report import ClassRemoval, Found, Skipped
from worker.case import MIN_PERSONS, Case
from worker.registry import attack
from worker.routing import MOST, apart, halves, histogram, machine, separability, total_variation
from worker.sides import Side
from worker.signals import Array, Labels

AFTER, FIRST = 1, 2
LEAST: Final = 20       # test rows of each side; of fewer, a half is too small to learn from


@dataclass(frozen=True)
class Removal:
    """Test rows of a forgotten class, of its neighbour, and of the other classes that are still taught."""

    recipe: Recipe
    taught: Labels
    label: int
    near: int
    rows: Side
    beside: Side
    others: Side

    @classmethod
    def of_case(cls, case: Case, recipe: Recipe, label: int) -> "Removal":
        """Of the holdout; at most 1,000 rows each."""
        taught, rng = np.unique(case.retain.y), case.rng(f"mia_nn:{label}")
        rows = _some(case.holdout, [label], rng)
        near = neighbour(rows, taught) if len(rows) else int(taught[0])
        beside, others = (_some(case.holdout, of, rng) for of in ([near], np.setdiff1d(taught, [near])))
        return cls(recipe, taught, label, near, rows, beside, others)

    @property
    def lacks(self) -> str | None:
        """Why nothing can be said."""
        if len(self.taught) < 2:
            return "fewer than two classes are still taught"
        sides = {self.label: self.rows, self.near: self.beside}
        short = [f"{len(side)} of class {label}" for label, side in sides.items() if len(side) < LEAST]
        if self.recipe.reading == "routing" and len(self.others) < LEAST:
            short.append(f"{len(self.others)} of further classes")
        return f"it takes {LEAST} holdout rows of a class; there are {', '.join(short)}" if short else None

    def feature(self, side: Side, model: int) -> Array:
        """(n, classes still taught)."""
        z = side.logits[model][:, self.taught]
        return softmax(z, axis=1) if self.recipe.feature == "probabilities" else z - z.mean(axis=1, keepdims=True)

    def accuracy(self, model: int, rng: np.random.Generator) -> float:
        """What the plan's reading says of one model."""
        if self.recipe.reading == "routing":
            x, y = self._learnt(self.beside, self.others, model)
            return float(machine().fit(x, y).predict(self.feature(self.rows, model)).mean())
        x, y = self._learnt(self.rows, self.beside, model)
        return separability(x, y, halves(y, _units(self.rows, self.beside), rng))

    def _learnt(self, ones: Side, zeros: Side, model: int) -> tuple[Array, Labels]:
        x = np.concatenate([self.feature(side, model) for side in (ones, zeros)])
        return x, np.repeat([1, 0], [len(ones), len(zeros)])


@attack(Recipe)
def mia_nn(case: Case, recipe: Recipe) -> Found:
    """One entry per class that was forgotten as a whole."""
    classes = np.setdiff1d(case.forget.y, case.retain.y)
    if not len(classes):
        return Found(skipped=(Skipped(rung="mia_nn", reason="no class was forgotten as a whole"),))
    tried = [_tried(case, recipe, int(label)) for label in classes]
    return Found(
        class_removal=tuple(each for each in tried if isinstance(each, ClassRemoval)),
        skipped=tuple(each for each in tried if isinstance(each, Skipped)),
    )


def neighbour(rows: Side, taught: Labels) -> int:
    """The class still taught that the references, on average, send most of the rows to."""
    return int(taught[np.mean([histogram(z[:, taught]) for z in rows.logits[FIRST:]], axis=0).argmax()])


def _tried(case: Case, recipe: Recipe, label: int) -> ClassRemoval | Skipped:
    if case.forget.of(np.array([label])).persons() < MIN_PERSONS:
        return Skipped(rung="mia_nn", reason=f"fewer than {MIN_PERSONS} persons had a forgotten class; it is theirs")
    of = Removal.of_case(case, recipe, label)
    return _told(case, of) if of.lacks is None else Skipped(rung="mia_nn", reason=of.lacks)


def _told(case: Case, of: Removal) -> ClassRemoval:
    own, *theirs = (
        of.accuracy(model, case.rng(f"mia_nn:{of.label}:halves")) for model in range(AFTER, len(case.models))
    )
    route, *routes = (histogram(z) for z in of.rows.logits[AFTER:])
    usual = np.mean(routes, axis=0)
    return ClassRemoval(
        label=of.label,
        neighbour=of.near,
        reading=of.recipe.reading,
        feature=of.recipe.feature,
        accuracy=own,
        accuracy_references=tuple(theirs),
        gap=abs(own - float(np.mean(theirs))),
        gap_references=apart([np.array(each) for each in theirs], lambda a, b: abs(float(a - b))),
        total_variation=total_variation(route, usual),
        total_variation_references=apart(routes, total_variation),
        routing=_shares(route),
        routing_reference=_shares(usual),
    )


def _some(side: Side, classes: list[int] | Labels, rng: np.random.Generator) -> Side:
    of = side.of(np.asarray(classes))
    return of if len(of) <= MOST else of.take(np.sort(rng.permutation(len(of))[:MOST]))


def _units(a: Side, b: Side) -> Labels:
    if a.groups is None or b.groups is None:
        return np.arange(len(a) + len(b))
    return np.unique(np.concatenate([a.groups, b.groups]), return_inverse=True)[1]


def _shares(p: Array) -> dict[str, float]:
    return {str(c): float(share) for c, share in enumerate(p) if share}
