"""Forget rows: a method of the menu works on a copy of the model, and what happened is returned."""

from copy import deepcopy
from dataclasses import dataclass, field
from time import perf_counter

import torch
from torch import Generator, nn

from service.domain.recipes import Method, Spec
from service.errors import BadInput
from worker.data import Split
from worker.inference import at_rest
from worker.optimise import OnStep, ignore, repeatable
from worker.registry import method as methods

Log = dict[str, float]


@dataclass(frozen=True)
class Unlearned:
    """A new module, and how it came about."""

    model: nn.Module
    seconds: float          # wall clock of the method alone
    log: tuple[Log, ...]    # one entry per forget-epoch: alpha, tau, forget_loss, retain_loss, active, density …
    method: Method


@dataclass(frozen=True)
class Run:
    """What a method may use besides the rows and its recipe."""

    rng: Generator
    spec: Spec | None = None
    on_step: OnStep = ignore
    log: list[Log] = field(default_factory=list)


def unlearn(
    model: nn.Module,
    data: Split,
    method: Method,
    *,
    rng: Generator,
    spec: Spec | None = None,
    on_step: OnStep = ignore,
) -> Unlearned:
    """Make a model that does not know the forget rows; the arguments stay as they are.

    Args:
        spec: the model's recipe; only retraining needs it.
        on_step: is told the steps done and in all after each of them; what it raises ends the run.
    Raises:
        BadInput: a part of the split is empty, or the method lacks something.
        Diverged: a loss was not finite.
    """
    complete(data)
    copy = deepcopy(model)
    device = next(copy.parameters()).device
    run = Run(rng, spec, on_step)
    start = now(device)
    with at_rest(copy), repeatable():
        methods.find(method)(copy, data.to(device), method, run)
    return Unlearned(copy, now(device) - start, tuple(run.log), method)


def complete(data: Split) -> None:
    """Refuse a split of which a part is empty."""
    empty = [name for name in ("retain", "forget", "validation") if not len(getattr(data, name))]
    if empty:
        raise BadInput(f"these parts of the split have no rows: {', '.join(empty)}")


def now(device: torch.device) -> float:
    """Seconds, once the device has done what it was told."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return perf_counter()
