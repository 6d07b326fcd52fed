"""What an attack may use: the plan, the models, their answers, and the rows."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from hashlib import sha256
from typing import Final

import numpy as np
from torch import nn

from service.domain.policy import AuditPlan
from service.domain.recipes import Spec
from worker.data import Rows
from worker.optimise import Progress
from worker.sides import Side

MIN_PERSONS: Final = 5      # of fewer, labels or a histogram would say something about one of them


@dataclass(frozen=True)
class AuditSets:
    """The rows of an audit; no model has seen holdout and population, and no method may use the holdout."""

    forget: Rows
    holdout: Rows
    retain: Rows
    population: Rows | None = None      # z of RMIA: rows that no model was fitted to, none of the holdout
    canaries: tuple[Rows, Rows] | None = None   # planted by coin: those to be forgotten, those never in


@dataclass(frozen=True)
class Case:
    """One audit: models in the order before, after, references."""

    plan: AuditPlan
    models: Sequence[nn.Module]
    sets: AuditSets
    forget: Side
    holdout: Side
    retain: Side
    progress: Progress
    population: Side | None = None
    spec: Spec | None = None            # the recipe of the model before, where it is known

    @property
    def k(self) -> int:
        """How many references."""
        return len(self.models) - 2

    @cached_property
    def matched(self) -> tuple[Side, Side]:
        """Forget and holdout rows whose class is on both sides."""
        return self.forget.of(self.holdout.y), self.holdout.of(self.forget.y)

    def rng(self, use: str) -> np.random.Generator:
        """A stream of its own for each use, so that none depends on how much another drew."""
        return np.random.default_rng([self.plan.seed, int.from_bytes(sha256(use.encode()).digest()[:4])])
