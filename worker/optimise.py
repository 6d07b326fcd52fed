"""The one place where weights move: loss → gradient → mask → step → mask again."""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from service.errors import BadInput, Diverged
from worker.asking import Ask
from worker.gates import Decision, Gate, Held, Moves, Opposed
from worker.gradients import Gradients, aggregate, feasible, gradients, gradients_by_part, scaled

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

    def beat(self) -> None:
        """Still at the same step: who watches may stop the run here too."""
        self.on_step(self.done, self.total)

    def state_dict(self) -> dict[str, Any]:
        """For a run that is taken up again."""
        return {"done": self.done}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on counting from there."""
        self.done = state["done"]


@dataclass(frozen=True)
class Objective:
    """What one step minimises: α·forget + (1 − α)·retain, or the one of them that is there; and what to log of it."""

    retain: Tensor | None = None
    forget: Tensor | None = None
    alpha: float = 0.0
    plain: Tensor | None = None     # the forget batch's own mean loss, where `forget` is not ± this
    seen: dict[str, Tensor] = field(default_factory=dict)

    @property
    def total(self) -> Tensor:
        """Raises BadInput where there is nothing to minimise."""
        match self.forget, self.retain:
            case Tensor() as forget, Tensor() as retain:
                return self.alpha * forget + (1 - self.alpha) * retain
            case (Tensor() as only, None) | (None, Tensor() as only):
                return only
            case _:
                raise BadInput("a step needs a loss")


def descend(
    model: nn.Module,
    objective: Callable[[Ask], Objective],
    optimiser: Optimizer,
    *,
    steps: int,
    progress: Progress,
    gate: Gate | Held | None = None,
    schedule: LRScheduler | None = None,
) -> dict[str, float]:
    """Minimise for some steps, and return the means of what was seen.

    Args:
        objective: draws its own batches, and has the model answer them by what it is handed.
        schedule: of the learning rate, where it changes with every step.
    Raises:
        BadInput: the gate compares two gradients, and the objective has one.
        Diverged: a loss or a weight was not finite. They are looked at once per call: a GPU waits at no step.
    """
    weights, first = trainable(model), progress.done + 1
    owns(optimiser, weights)
    ask = Ask.through(model, gate)
    seen: list[dict[str, Tensor]] = []
    for _ in range(steps):
        goal = objective(ask)
        loss = goal.total.detach()
        update, moves, measured = direction(goal, weights, gate, ask)
        step(weights, update, optimiser, moves)
        seen.append({"loss": loss, **goal.seen, **measured})
        if schedule:
            schedule.step()
        progress.tick()
    averages = means(seen, first=first)
    if not finite(weights):
        raise Diverged(step=progress.done)
    return averages


def trainable(model: nn.Module) -> list[nn.Parameter]:
    """The weights that may move at all."""
    return [w for w in model.parameters() if w.requires_grad]


def owns(optimiser: Optimizer, weights: Sequence[Tensor]) -> None:
    """Refuse an optimiser that holds other weights than the model's: it would move nothing, or something else."""
    held = {id(w) for group in optimiser.param_groups for w in group["params"]}
    if held != {id(w) for w in weights}:
        raise ValueError("the optimiser holds other weights than the model's own that may move")


def finite(weights: Sequence[Tensor]) -> bool:
    """Whether every weight is a number; the last step may have ruined them after its loss was taken."""
    return bool(torch.stack([w.detach().isfinite().all() for w in weights]).all())


def repeatable() -> AbstractContextManager[None]:
    """Convolutions on a GPU whose sums have one order: same bits every time."""
    return torch.backends.cudnn.flags(enabled=True, benchmark=False, deterministic=True)


def direction(
    goal: Objective, weights: Sequence[Tensor], gate: Gate | Held | None, ask: Ask
) -> tuple[Gradients, Moves | None, dict[str, Tensor]]:
    """The gradient to follow, the mask, and what the log shall know about both."""
    match gate:
        case None:
            return gradients(goal.total, weights), None, {}
        case Held():
            update = scaled(gradients(goal.total, weights), gate.moves)
            return update, gate.moves, {"density": density(gate.moves)}
        case Gate():
            both = opposed(goal, weights, gate, ask)
            decision = gate.decide(both)
            update = scaled(aggregate(both.forget, both.retain, both.alpha), decision.shares)
            return update, held_by(decision), measured(update, both, decision)


def opposed(goal: Objective, weights: Sequence[Tensor], gate: Gate, ask: Ask) -> Opposed:
    """The two gradients apart, and by micro-batch or of the plain loss where the gate asks for it."""
    if goal.forget is None or goal.retain is None:
        raise BadInput("this mask compares two gradients, and the step has a loss on one set of rows only")
    if gate.micro > 1:
        forget, f = gradients_by_part(goal.forget, weights, ask.parts[0])
        retain, r = gradients_by_part(goal.retain, weights, ask.parts[1])
        return Opposed(forget, retain, goal.alpha, forget_parts=f, retain_parts=r)
    keep = gate.plain and goal.plain is not None
    forget, retain = gradients(goal.forget, weights, keep=keep), gradients(goal.retain, weights)
    plain = gradients(goal.plain, weights) if keep and goal.plain is not None else forget
    return Opposed(forget, retain, goal.alpha, plain=plain)


def held_by(decision: Decision) -> Moves | None:
    """The mask of a decision that holds weights; one that only scales updates holds none."""
    return decision.shares if decision.shares[0].dtype == torch.bool else None


def measured(update: Gradients, both: Opposed, decision: Decision) -> dict[str, Tensor]:
    """Density of the mask, whether the update serves both objectives to first order, and what the gate saw."""
    feasibility = feasible(update, both.forget, both.retain).float()
    return {"density": density(decision.shares), "feasible": feasibility, **decision.seen}


def density(shares: Sequence[Tensor]) -> Tensor:
    """The share of coordinates that may move."""
    return torch.stack([(m != 0).sum() for m in shares]).sum() / sum(m.numel() for m in shares)


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
