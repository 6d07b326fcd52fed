"""Gradient-based unlearning with a target, ∇τ. arXiv:2403.14339. Its MIA_L and MIA_E."""

from collections.abc import Callable
from typing import Final

import numpy as np
from numpy.typing import ArrayLike

from service.domain.report import Convention
from worker.case import Case
from worker.conventions.crossed import crossed
from worker.conventions.telling import ROWS, some, told
from worker.signals import Array, entropy, loss

SOURCE: Final = "∇τ, arXiv:2403.14339; test rows of all classes, the larger side cut to the smaller, one direction"
READS: Final = "accuracy of a logistic regression on {}, forget against test rows; aim at the reference"
FEATURES: Final[dict[str, tuple[str, Callable[[ArrayLike, ArrayLike], Array]]]] = {
    "mia_l": ("the loss", loss),
    "mia_e": ("the entropy", entropy),
}


def nabla_tau(case: Case) -> tuple[Convention, ...]:
    """Loss, then entropy."""
    forget, test = (some(side, ROWS, case.rng("nabla_tau")) for side in (case.forget, case.holdout))

    def accuracy(model: int, feature: Callable[[ArrayLike, ArrayLike], Array]) -> float:
        return crossed(*balanced(*(feature(side.logits[model], side.y) for side in (forget, test))))

    return tuple(
        told(case, name, SOURCE, READS.format(of), lambda model, feature=feature: accuracy(model, feature))
        for name, (of, feature) in FEATURES.items()
    )


def balanced(a: Array, b: Array) -> tuple[Array, Array]:
    """The larger one shuffled with their seed, 1, and cut to the smaller one's length."""
    n = min(len(a), len(b))
    shuffled = [x if len(x) == n else np.random.default_rng(1).permutation(x)[:n] for x in (a, b)]
    return shuffled[0], shuffled[1]
