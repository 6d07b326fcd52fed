"""One set of rows as an auditor sees it: labels, persons, and what every model answers."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

from service.errors import BadInput
from worker.data import Rows
from worker.inference import logits
from worker.optimise import Progress
from worker.signals import Array, Labels


@dataclass(frozen=True)
class Side:
    """One set as arrays, with every model's logits, in the order before, after, references."""

    y: Labels
    groups: Labels | None
    logits: list[Array]

    def __len__(self) -> int:
        return len(self.y)

    def take(self, index: Labels) -> "Side":
        """The rows at these positions."""
        groups = None if self.groups is None else self.groups[index]
        return Side(self.y[index], groups, [z[index] for z in self.logits])

    def of(self, classes: Labels) -> "Side":
        """The rows whose label is among these."""
        return self.take(np.flatnonzero(np.isin(self.y, classes)))

    @property
    def units(self) -> Labels:
        """(n,) what moves as one: the number of the person, or of the row where there are none."""
        return np.arange(len(self.y)) if self.groups is None else np.unique(self.groups, return_inverse=True)[1]

    def persons(self) -> int:
        """How many; a row without a person counts for one."""
        return len(self.y) if self.groups is None else len(np.unique(self.groups))


def ask(models: Sequence[nn.Module], rows: Rows, progress: Progress) -> Side:
    """Every model's answers to these rows.

    Raises:
        BadInput: a model answers with NaN, or with another number of outputs than the others.
    """
    groups = None if rows.groups is None else rows.groups.cpu().numpy()
    answers: list[Array] = []
    for model in models:
        answers.append(answer(model, rows))
        progress.tick()
    outputs = sorted({z.shape[1] for z in answers})
    if len(outputs) > 1:
        raise BadInput(f"the models differ in their number of outputs: {outputs}")
    return Side(rows.y.cpu().numpy(), groups, answers)


def answer(model: nn.Module, rows: Rows) -> Array:
    """float64 (n, K); a model without weights is asked where the rows are."""
    device = next((w.device for w in model.parameters()), rows.x.device)
    z = logits(model, rows.to(device)).to("cpu", torch.float64).numpy()
    if not np.isfinite(z).all():
        raise BadInput(f"a model answers with NaN or infinity on {int((~np.isfinite(z)).any(axis=1).sum())} rows")
    return z
