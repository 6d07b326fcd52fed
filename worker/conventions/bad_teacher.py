"""Can Bad Teaching Induce Forgetting? Chundawat, Tarun, Mandal, Kankanhalli. AAAI 2023. arXiv:2205.08096. Its MIA."""

import warnings
from typing import Final

import numpy as np
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression

from service.domain.report import Convention
from worker.case import Case
from worker.conventions.telling import ROWS, some, told
from worker.signals import entropy

SOURCE: Final = "Bad Teacher, arXiv:2205.08096, also used by SSD; the opposite sign of SVC_MIA"
READS: Final = "share of forget rows taken for members by a logistic regression on the entropy; aim at the reference"


def bad_teacher(case: Case) -> tuple[Convention, ...]:
    """Learnt from retain and test rows with balanced weights."""
    rng = case.rng("bad_teacher")
    retain, test, forget = (some(side, ROWS, rng) for side in (case.retain, case.holdout, case.forget))
    y = np.repeat([1, 0], [len(retain), len(test)])

    def members(model: int) -> float:
        seen, unseen, asked = (entropy(side.logits[model], side.y)[:, None] for side in (retain, test, forget))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)
            learnt = LogisticRegression(class_weight="balanced").fit(np.concatenate([seen, unseen]), y)
        return float(learnt.predict(asked).mean())

    return (told(case, "bad_teacher.entropy", SOURCE, READS, members),)
