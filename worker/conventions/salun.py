r"""SVC_MIA: five support vector machines on a model's own answers, as Unlearn-Sparse, SalUn, RUM and RULI compute it.

Model Sparsity Can Simplify Machine Unlearning. Jia et al. NeurIPS 2023. arXiv:2304.04934.
SalUn. Fan et al. ICLR 2024. arXiv:2310.12508. The paper's "MIA" is the entry `confidence`.

The number is the share of forget rows taken for unseen ones. Their modified entropy is not that of Song and Mittal:

    theirs   −Σ_i (1 − p_i) log p_i  over every class i that any row of the set has as its label,  −p_i log p_i else
    right    −(1 − p_y) log p_y − Σ_{i≠y} p_i log(1 − p_i)

so whose label is whose makes no difference. `salun_mended` is the attack as it should be: the right formula, rows
drawn by the seed and not the first ones, and half of them kept back to see whether the attacker can tell anything.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy.special import softmax
from sklearn.svm import SVC

from service.domain.report import Convention
from worker.case import Case
from worker.conventions.telling import SVC_ROWS, some, told
from worker.metrics import correct
from worker.sides import Side
from worker.signals import Array, Labels, entropy, modified_entropy

TINY: Final = 1e-30         # what their logarithm takes for 0
THEIRS: Final = "SVC_MIA of Unlearn-Sparse and SalUn, arXiv:2310.12508, as coded: the first retain and test rows"
WRONG: Final = THEIRS + "; its modified entropy does not know whose label is whose"
MENDED: Final = "SVC_MIA, arXiv:2310.12508, mended: right modified entropy, rows drawn by the seed, half kept back"
READS: Final = "share of forget rows that an SVM on the {} takes for unseen; aim at the reference"
JUDGED: Final = "balanced accuracy of the mended attacker on retain and test rows kept back; at 0.5 it knows nothing"


def correctness(z: Array, y: Labels) -> Array:
    """1 where the class is right."""
    return correct(z, y)


def probability(z: Array, y: Labels) -> Array:
    """Of the true class."""
    return softmax(z, axis=1)[np.arange(len(y)), y]


def every(z: Array, y: Labels) -> Array:
    """All probabilities, (n, K)."""
    del y
    return softmax(z, axis=1)


def coded_entropy(z: Array, y: Labels) -> Array:
    """What their code calls modified entropy."""
    p = softmax(z, axis=1)
    weight = p.copy()
    present = np.unique(y)
    weight[:, present] = 1 - p[:, present]
    return -(weight * np.log(np.where(p > 0, p, TINY))).sum(axis=1)


Feature = Callable[[Array, Labels], Array]
FEATURES: Final[dict[str, Feature]] = {
    "correctness": correctness,
    "confidence": probability,
    "entropy": entropy,
    "m_entropy": coded_entropy,
    "prob": every,
}
RIGHT: Final[dict[str, Feature]] = {
    "confidence": probability, "entropy": entropy, "modified_entropy": modified_entropy
}


@dataclass(frozen=True)
class Attacker:
    """Two sides to learn from, and rows to be asked about."""

    seen: Side
    unseen: Side
    asked: Side

    def learnt(self, model: int, feature: Feature) -> SVC:
        """RBF, C = 3, gamma = 1 / number of features; 1 is a member."""
        parts = [_column(feature, side, model) for side in (self.seen, self.unseen)]
        return SVC(C=3, gamma="auto").fit(np.concatenate(parts), np.repeat([1, 0], [len(part) for part in parts]))

    def efficacy(self, model: int, feature: Feature) -> float:
        """Share of the asked rows that are taken for unseen."""
        return float(1 - self.learnt(model, feature).predict(_column(feature, self.asked, model)).mean())


def salun(case: Case) -> tuple[Convention, ...]:
    """All five, as coded."""
    tried = as_coded(case)
    return tuple(
        told(
            case,
            f"svc_mia.{name}",
            WRONG if name == "m_entropy" else THEIRS,
            READS.format(name),
            lambda model, feature=feature: tried.efficacy(model, feature),
        )
        for name, feature in FEATURES.items()
    )


def salun_mended(case: Case) -> tuple[Convention, ...]:
    """Three of them, and what the attacker is worth."""
    tried, kept = mended(case)
    found = [
        told(
            case,
            f"svc_mia_mended.{name}",
            MENDED,
            READS.format(name.replace("_", " ")),
            lambda model, feature=feature: tried.efficacy(model, feature),
        )
        for name, feature in RIGHT.items()
    ]
    worth = told(case, "svc_mia_mended.attacker", MENDED, JUDGED, lambda model: _worth(tried, kept, model))
    return (*found, worth)


def efficacy(case: Case) -> tuple[float, ...]:
    """SalUn's "MIA" of each model: the entry `confidence`, in [0, 1]."""
    tried = as_coded(case)
    return tuple(tried.efficacy(model, probability) for model in range(len(case.models)))


def as_coded(case: Case) -> Attacker:
    """The first retain rows, as many as there are test rows, against the test rows."""
    n = min(SVC_ROWS, len(case.holdout))
    retain, test = (side.take(np.arange(min(n, len(side)))) for side in (case.retain, case.holdout))
    return Attacker(retain, test, some(case.forget, SVC_ROWS, case.rng("svc_mia")))


def mended(case: Case) -> tuple[Attacker, tuple[Side, Side]]:
    """An attacker who learnt from one half, and the other half: retain and test rows."""
    rng = case.rng("svc_mia_mended")
    n = min(2 * SVC_ROWS, len(case.holdout), len(case.retain))
    (seen, of_retain), (unseen, of_test) = (_halved(side, n, rng) for side in (case.retain, case.holdout))
    return Attacker(seen, unseen, some(case.forget, SVC_ROWS, rng)), (of_retain, of_test)


def _worth(tried: Attacker, kept: tuple[Side, Side], model: int) -> float:
    attacker = tried.learnt(model, probability)
    seen, unseen = (float(attacker.predict(_column(probability, side, model)).mean()) for side in kept)
    return (seen + 1 - unseen) / 2


def _halved(side: Side, rows: int, rng: np.random.Generator) -> tuple[Side, Side]:
    """Of so many drawn rows two halves; a person's rows stay together, unless there is only one person."""
    drawn = some(side, rows, rng)
    units = drawn.units if drawn.persons() > 1 else np.arange(len(drawn))
    first = rng.permutation(int(units.max()) + 1) < (int(units.max()) + 1) / 2
    return drawn.take(np.flatnonzero(first[units])), drawn.take(np.flatnonzero(~first[units]))


def _column(feature: Feature, side: Side, model: int) -> NDArray[np.float64]:
    return feature(side.logits[model], side.y).reshape(len(side), -1)
