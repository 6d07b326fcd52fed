"""The starting kit of the NeurIPS 2023 machine unlearning challenge: its attack, which is not the challenge's score."""

from typing import Final

from service.domain.report import Convention
from worker.case import Case
from worker.conventions.crossed import crossed
from worker.conventions.telling import ROWS, some, told
from worker.signals import loss

SOURCE: Final = (
    "NeurIPS 2023 unlearning starting kit; only the forget side is cut to the other's length, so with fewer forget "
    "than test rows the larger share is the floor"
)
READS: Final = "accuracy of a logistic regression on the loss, forget against test rows; aim at the reference"


def starting_kit(case: Case) -> tuple[Convention, ...]:
    """Accuracy, with the retrained models beside it, which the kit gained only later."""
    rng = case.rng("starting_kit")
    share = min(1.0, ROWS / len(case.holdout))      # of both sides alike, because their ratio is what the floor is
    test = some(case.holdout, ROWS, rng)
    forget = some(case.forget, min(len(test), max(2, round(share * len(case.forget)))), rng)

    def accuracy(model: int) -> float:
        return crossed(*(loss(side.logits[model], side.y) for side in (forget, test)))

    return (told(case, "starting_kit.loss", SOURCE, READS, accuracy),)
