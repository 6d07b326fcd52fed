"""The one place where weights move: loss → gradient → mask → step → mask again."""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Protocol

import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from service.errors import Diverged
from worker.gradients import Gradients, aggregate, feasible, gradients, masked

Moves = list[Tensor]    # bool, of each weight's shape: True where it may move
OnStep = Callable[[int, int], object]


def ignore(_done: int, _total: int) -> None:
    """Nobody watches."""


@dataclass
class Progress:
    """Counts the steps of one run; who watches is told each, and stops the run by raising."""

    total: int
    on_step: OnStep = ignore
    done: int = 0

    def tick(self) -> None:
        """One more step is done."""
        self.done += 1
        self.on_step(self.done, self.total)


class Gate(Protocol):
    """Says, once a step, which weights may move, given the gradients of the two objectives that are minimised."""

    def __call__(self, forget: Gradients, retain: Gradients, /) -> Moves: ...


@dataclass(frozen=True)
class Objective:
    """What one step minimises: α·forget + (1 − α)·retain; and what the log shall know about it."""

    retain: Tensor
    forget: Tensor | None = None
    alpha: float = 0.0
    seen: dict[str, Tensor] = field(default_factory=dict)

    @property
    def total(self) -> Tensor:
        return self.retain if self.forget is None else self.alpha * self.forget + (1 - self.alpha) * self.retain


def descend(
    model: nn.Module,
    objective: Callable[[], Objective],
    optimiser: Optimizer,
    *,
    steps: int,
    progress: Progress,
    gate: Gate | None = None,
    schedule: LRScheduler | None = None,
) -> dict[str, float]:
    """Minimise for some steps, and return the means of what was seen.

    Args:
        objective: draws its own batches.
        schedule: of the learning rate, where it changes with every step.
    Raises:
        Diverged: a loss was not finite. It is looked at once per call, so that a GPU need not wait at every step.
    """
    weights, first = trainable(model), progress.done + 1
    seen: list[dict[str, Tensor]] = []
    for _ in range(steps):
        goal = objective()
        update, moves, measured = direction(goal, weights, gate)
        step(weights, update, optimiser, moves)
        seen.append({"loss": goal.total.detach(), **goal.seen, **measured})
        if schedule:
            schedule.step()
        progress.tick()
    return means(seen, first=first)


def trainable(model: nn.Module) -> list[nn.Parameter]:
    """The weights that may move at all."""
    return [w for w in model.parameters() if w.requires_grad]


def repeatable() -> AbstractContextManager[None]:
    """Convolutions on a GPU whose sums have one order: same bits every time."""
    return torch.backends.cudnn.flags(enabled=True, benchmark=False, deterministic=True)


def direction(
    goal: Objective, weights: Sequence[Tensor], gate: Gate | None
) -> tuple[Gradients, Moves | None, dict[str, Tensor]]:
    """The gradient to follow, the mask, and what the log shall know about both."""
    if gate is None or goal.forget is None:
        return gradients(goal.total, weights), None, {}
    forget, retain = gradients(goal.forget, weights), gradients(goal.retain, weights)
    moves = gate(forget, retain)
    update = masked(aggregate(forget, retain, goal.alpha), moves)
    density = torch.stack([m.sum() for m in moves]).sum() / sum(m.numel() for m in moves)
    return update, moves, {"density": density, "feasible": feasible(update, forget, retain).float()}


def step(weights: Sequence[Tensor], update: Gradients, optimiser: Optimizer, moves: Moves | None = None) -> None:
    """Move the weights once; one that the mask holds stays, whatever the optimiser remembers."""
    start = [w.detach().clone() for w in weights] if moves else []
    for w, g in zip(weights, update, strict=True):
        w.grad = g
    optimiser.step()
    optimiser.zero_grad(set_to_none=True)
    with torch.no_grad():
        for w, before, m in zip(weights, start, moves or [], strict=False):
            w.copy_(torch.where(m, w, before))      # momentum and weight decay moved it all the same


def means(seen: Sequence[dict[str, Tensor]], *, first: int) -> dict[str, float]:
    """The mean of each measure over the steps, of which the first has the number `first`.

    Raises:
        Diverged: naming the first step whose loss was not finite.
    """
    finite = torch.isfinite(torch.stack([s["loss"] for s in seen]))
    if not finite.all():
        raise Diverged(step=first + int((~finite).nonzero()[0]))
    return {name: torch.stack([s[name].float() for s in seen]).mean().item() for name in seen[0]}
