r"""How far is the new model from retrained ones, in the numbers that papers report?

Tug of war. Zhao et al. NeurIPS 2024, arXiv:2406.01257: Π over forget, retain and test of 1 − |acc − acc_retrained|;
with an attack, the forget factor is that of SVC_MIA's confidence. Average gap: Fan et al. 2024, arXiv:2310.12508.
rUA and fidelity: counts of right, and of equal, predictions on the forget rows beside a retrained model's.

Each is taken against every reference and averaged; the same between the references says what retraining alone does.
Test rows are holdout rows of classes that are still taught. No pair shares its seed, unlike in the source of rUA.
"""

from dataclasses import dataclass

import numpy as np

from service.domain.recipes import OracleDistance as Recipe
from service.domain.report import Distances, Found, Skipped
from worker.case import Case
from worker.conventions.salun import efficacy
from worker.metrics import Performance, accuracy, average_gap, ks
from worker.registry import attack
from worker.sides import Side
from worker.signals import Array, Labels, confidence

AFTER, FIRST = 1, 2


@dataclass(frozen=True)
class Seen:
    """One model as the distances see it; shares in [0, 1]."""

    y: Labels
    predicted: Labels       # (n,) classes of the forget rows
    phi: Array              # (n,) of the forget rows
    retain: float
    test: float
    unseen: float           # share of forget rows that SVC_MIA's confidence takes for unseen

    @property
    def forget(self) -> float:
        return float((self.predicted == self.y).mean())

    @property
    def performance(self) -> Performance:
        return Performance.of(forget=self.forget, retain=self.retain, test=self.test, unseen=self.unseen)


@attack(Recipe)
def oracle_distance(case: Case, recipe: Recipe) -> Found:
    """Conditional on these references; there is no interval, only theirs to each other."""
    del recipe
    test = case.holdout.of(case.retain.y)
    if not len(test):
        reason = "no holdout row has a class that is still taught"
        return Found(skipped=(Skipped(rung="oracle_distance", reason=reason),))
    models = [_seen(case, test, model, unseen) for model, unseen in enumerate(efficacy(case))]
    references = models[FIRST:]
    own = np.mean([distances(models[AFTER], reference) for reference in references], axis=0)
    pairs = [distances(one, other) for one in references for other in references if one is not other]
    return Found(distances=_told(own, between(pairs) if pairs else None))


def distances(model: Seen, reference: Seen) -> Array:
    """(6,): tug of war, the same with the attack, average gap, rUA, fidelity, KS; in the order of the report."""
    rest = (1 - abs(model.retain - reference.retain)) * (1 - abs(model.test - reference.test))
    return np.array([
        (1 - abs(model.forget - reference.forget)) * rest,
        (1 - abs(model.unseen - reference.unseen)) * rest,
        average_gap(model.performance, reference.performance).average,
        r_ua(model.predicted, reference.predicted, model.y),
        fidelity(model.predicted, reference.predicted),
        ks(model.phi, reference.phi),
    ])


def between(pairs: list[Array]) -> Array:
    """Mean over ordered pairs; of rUA its size, since with their sign both directions cancel."""
    table = np.array(pairs)
    table[:, 3] = np.abs(table[:, 3])
    return table.mean(axis=0)


def r_ua(predicted: Labels, ideal: Labels, y: Labels) -> float:
    """Right predictions beyond the ideal's, in points of percent; above 0 the model knows too much."""
    return 100 * (int((predicted == y).sum()) - int((ideal == y).sum())) / len(y)


def fidelity(predicted: Labels, ideal: Labels) -> float:
    """Percent of rows that both give the same class."""
    return 100 * float((predicted == ideal).mean())


def _seen(case: Case, test: Side, model: int, unseen: float) -> Seen:
    z, y = case.forget.logits[model], case.forget.y
    return Seen(
        y=y,
        predicted=z.argmax(axis=1),
        phi=confidence(z, y),
        retain=accuracy(case.retain.logits[model], case.retain.y),
        test=accuracy(test.logits[model], test.y),
        unseen=unseen,
    )


def _told(own: Array, theirs: Array | None) -> Distances:
    return Distances(
        tug_of_war=own[0],
        tug_of_war_mia=own[1],
        average_gap=own[2],
        r_ua=own[3],
        fidelity=own[4],
        ks_forget=own[5],
        between_references=None if theirs is None else _told(theirs, None),
    )
