"""Cases of an audit from logits alone, for attacks that ask no model."""

import numpy as np

from service.domain.policy import AuditPlan
from worker.auditing import AuditSets
from worker.case import Case
from worker.optimise import Progress, ignore
from worker.sides import Side


def side(logits, y, groups=None):
    """One set, from every model's logits."""
    return Side(np.asarray(y), groups if groups is None else np.asarray(groups), [np.asarray(z, float) for z in logits])


def of_odds(phi, y, groups=None):
    """Two classes, from every model's log-odds (models, n) of the true one."""
    sign = np.where(np.asarray(y) == 1, 0.5, -0.5)
    return side([np.stack([-row * sign, row * sign], axis=1) for row in np.asarray(phi, float)], y, groups)


def case(forget, holdout, retain, population=None, plan=None):
    """Before, after, references: as many models as there are logits."""
    models = [None] * len(forget.logits)
    plan = plan or AuditPlan(references=len(models) - 2)
    return Case(plan, models, AuditSets(None, None, None), forget, holdout, retain, Progress(1, ignore), population)


def labels(n, rng, classes=2):
    return rng.integers(0, classes, n)
