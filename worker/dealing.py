"""Which persons a shadow was trained with: a pool is set apart, and dealt by coin to pairs of shadows."""

from dataclasses import dataclass
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from service.domain.recipe_audits import RecipePlan
from service.errors import BadInput
from worker.data import Rows
from worker.signals import Labels

LEAST_UNITS: Final = 20     # persons of a pool; of fewer, a shadow's half may well be empty
POOL, COINS, SEEDS = 0, 1, 2


@dataclass(frozen=True)
class Dealt:
    """The train rows, cut into a pool and the rest; positions among the train rows."""

    plan: RecipePlan
    pool: Tensor        # int64 (n,)
    rest: Tensor        # int64 (N − n,)
    units: Labels       # (n,) number of the person behind each row of the pool, from 0 without gaps

    @property
    def persons(self) -> int:
        """How many coins a shadow's half takes."""
        return int(self.units.max()) + 1

    def included(self, shadow: int) -> NDArray[np.bool_]:
        """(n,) which rows of the pool this shadow is trained with; the other of the pair has the others."""
        coins = np.random.default_rng([self.plan.seed, COINS, shadow // 2]).random(self.persons) < 0.5
        return (coins if shadow % 2 == 0 else ~coins)[self.units]

    def seed(self, shadow: int) -> int:
        """Of the shadow's first weights and batches; as far from its neighbour's as from any other's."""
        return int(np.random.default_rng([self.plan.seed, SEEDS, shadow]).integers(2**31))

    def half(self, shadow: int) -> Tensor:
        """Positions of the pool's rows that the shadow is trained with and shall forget."""
        return self.pool[torch.as_tensor(self.included(shadow))]


def deal(rows: Rows, plan: RecipePlan) -> Dealt:
    """Draw the pool: twice the share of persons that a shadow forgets.

    Raises:
        BadInput: nothing would be left to train on besides, or there are too few persons.
    """
    groups = np.arange(len(rows)) if rows.groups is None else rows.groups.cpu().numpy()
    units, of_row = np.unique(groups, return_inverse=True)
    size = round(2 * plan.forget * len(units))
    if size >= len(units):
        raise BadInput(f"a pool of twice {plan.forget:.0%} of the persons leaves nobody to train on")
    if size < LEAST_UNITS:
        raise BadInput(f"the pool has {size} persons or rows, and needs {LEAST_UNITS}: forget a larger share")
    drawn = np.random.default_rng([plan.seed, POOL]).choice(len(units), size, replace=False)
    pooled = np.isin(of_row, drawn)
    numbered = np.unique(of_row[pooled], return_inverse=True)[1]
    return Dealt(plan, torch.as_tensor(np.flatnonzero(pooled)), torch.as_tensor(np.flatnonzero(~pooled)), numbered)
