"""Many models of one recipe, each on rows of its own: trained at once where that is faster, else one after another.

Together means: the weights of N models lie in one tensor per layer, `torch.func` runs them as one, and torch's own
optimiser steps them as one. Each model has its own first weights, rows and order of rows, all drawn as the production
trainer draws them, so its numbers are those of `worker.training.train` but for the order of sums in floats.
"""

import os
from collections.abc import Generator, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import dataclass
from threading import Event
from typing import Final

import torch
from torch import Tensor, nn
from torch.func import functional_call, stack_module_state
from torch.optim import SGD, AdamW, Optimizer
from torch.optim.lr_scheduler import LambdaLR

from service.domain import recipes
from service.domain.recipes import Spec, Training
from service.errors import BadInput, Diverged
from worker import tasks
from worker.data import Batches, Rows, count, inputs
from worker.mapped import Mapped
from worker.optimise import OnStep, ignore
from worker.training import build, fits, rate, train

STACKED: Final = (recipes.Mlp, recipes.Logistic)    # measured: convolutions of several models are slower than a loop
AT_ONCE: Final = 8      # models of a group; fixed, so that sums have the same order on every machine
LOOK_S: Final = 0.2     # how often the caller is told
Stacked = dict[str, Tensor]                         # (N, …) each


@dataclass(frozen=True)
class Shadow:
    """What makes one model unlike the others."""

    rows: Tensor        # int64 (n,) positions of its train rows
    seed: int


def shadows(
    spec: Spec, rows: Rows, each: Sequence[Shadow], *, device: torch.device | str = "cpu", on_step: OnStep = ignore
) -> list[nn.Module]:
    """A model for each, in evaluation mode.

    Args:
        on_step: is told the models done and in all, many times a model; what it raises ends the training.
    """
    way = together if stackable(spec, rows) else one_after_another
    return way(spec, rows, each, device=device, on_step=on_step)


def stackable(spec: Spec, rows: Rows) -> bool:
    """Whether these models are faster at once than one after another."""
    plain = isinstance(spec.training.augmentation, recipes.NoAugmentation)
    return isinstance(spec.family, STACKED) and plain and isinstance(rows.x, Tensor)


def one_after_another(
    spec: Spec, rows: Rows, each: Sequence[Shadow], *, device: torch.device | str = "cpu", on_step: OnStep = ignore
) -> list[nn.Module]:
    """The production trainer, in a loop."""
    made: list[nn.Module] = []
    for one in each:
        done = len(made)
        made.append(
            train(
                spec.seeded(one.seed), rows.take(one.rows), device=device,
                on_step=lambda _, __, done=done: on_step(done, len(each)),
            )
        )
        on_step(len(made), len(each))
    return made


def together(
    spec: Spec, rows: Rows, each: Sequence[Shadow], *, device: torch.device | str = "cpu", on_step: OnStep = ignore
) -> list[nn.Module]:
    """Some at once, on a CPU in one thread per core; the groups are the same whatever the number of cores.

    Raises:
        BadInput: the rows stay in their file.
        Diverged: a weight was not finite; looked at once per epoch.
    """
    if isinstance(rows.x, Mapped):
        raise BadInput("models are trained together on rows that fit into memory: train them one after another")
    fits(spec, rows)
    rows = rows.to(device)
    groups, stop = _groups(each, spec.training.batch), Event()
    threads = min(len(groups), os.cpu_count() or 1) if rows.y.device.type == "cpu" else 1
    with _one_thread_each(), ThreadPoolExecutor(threads, initializer=torch.set_num_threads, initargs=(1,)) as pool:
        at_work = [pool.submit(_group, spec, rows, [each[i] for i in group], stop) for group in groups]
        try:
            _watch(at_work, groups, on_step)
        finally:
            stop.set()      # else threads go on after the caller was told to stop
    made: dict[int, nn.Module] = {}
    for group, done in zip(groups, at_work, strict=True):
        made |= dict(zip(group, done.result(), strict=True))
    return [made[i] for i in range(len(each))]


def _groups(each: Sequence[Shadow], batch: int) -> list[list[int]]:
    """Those whose epochs have the same number of steps, and so the same schedule; never more than `AT_ONCE`."""
    by_steps: dict[int, list[int]] = {}
    for i, one in enumerate(each):
        by_steps.setdefault(count(len(one.rows), batch), []).append(i)
    return [same[k : k + AT_ONCE] for same in by_steps.values() for k in range(0, len(same), AT_ONCE)]


def _watch(at_work: Sequence[Future[list[nn.Module]]], groups: Sequence[Sequence[int]], on_step: OnStep) -> None:
    """Tell of progress from the caller's own thread; the first group that fails ends it."""
    pending, total = set(at_work), sum(map(len, groups))
    while pending:
        over, pending = wait(pending, timeout=LOOK_S, return_when=FIRST_COMPLETED)
        for one in over:
            one.result()
        on_step(sum(len(group) for group, one in zip(groups, at_work, strict=True) if one.done()), total)


@contextmanager
def _one_thread_each() -> Generator[None]:
    """Two threads that share each matrix wait for each other; on a busy machine many times as long as they work."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def _group(spec: Spec, rows: Rows, each: Sequence[Shadow], stop: Event) -> list[nn.Module]:
    rngs = [torch.Generator().manual_seed(one.seed) for one in each]
    models = [build(spec, rng).to(rows.y.device) for rng in rngs]
    weights = {name: w.detach().requires_grad_() for name, w in stack_module_state(models)[0].items()}
    dealt = [_dealt(one.rows.cpu(), rng, spec.training.batch) for one, rng in zip(each, rngs, strict=True)]
    _fit(models[0].train(), weights, rows, spec.training, dealt, stop)
    return [_unstacked(model, weights, i) for i, model in enumerate(models)]


def _dealt(positions: Tensor, rng: torch.Generator, batch: int) -> Batches:
    """The production trainer's own batches, of the rows' positions in place of the rows."""
    return Batches(Rows(positions[:, None], positions), rng, batch)


def _fit(
    model: nn.Module, weights: Stacked, rows: Rows, recipe: Training, dealt: Sequence[Batches], stop: Event
) -> None:
    """The recipe's epochs; a step is one of every model."""
    steps = dealt[0].count
    optimiser = _optimiser(recipe, list(weights.values()))
    schedule = LambdaLR(optimiser, lambda done: rate(recipe, done / (recipe.epochs * steps)))

    def answer(own: Stacked, x: Tensor) -> Tensor:
        return functional_call(model, own, (x,))

    answers = torch.vmap(answer)
    for epoch in range(recipe.epochs):
        for index, weight in _steps(dealt, steps, rows.y.device):
            outputs = answers(weights, inputs(rows.x[index]))       # (N, B, K)
            losses = tasks.losses(outputs.flatten(0, 1), rows.y[index].flatten(0, 1))
            optimiser.zero_grad()
            (losses * weight.flatten()).sum().backward()            # a model's gradient is of its own mean alone
            optimiser.step()
            schedule.step()
            if stop.is_set():
                return
        if not all(bool(w.detach().isfinite().all()) for w in weights.values()):
            raise Diverged(step=(epoch + 1) * steps)


def _steps(dealt: Sequence[Batches], steps: int, device: torch.device) -> Iterator[tuple[Tensor, Tensor]]:
    """Positions (N, B) and what each counts in its model's mean; a batch that is shorter has rows that count 0."""
    for _ in range(steps):
        batches = [next(each).y for each in dealt]
        longest = max(map(len, batches))
        index, weight = torch.zeros(len(dealt), longest, dtype=torch.long), torch.zeros(len(dealt), longest)
        for i, batch in enumerate(batches):
            index[i, : len(batch)], weight[i, : len(batch)] = batch, 1 / len(batch)
        yield index.to(device), weight.to(device)


def _optimiser(recipe: Training, weights: list[Tensor]) -> Optimizer:
    match recipe.optimizer:
        case recipes.Sgd() as o:
            return SGD(weights, o.lr, momentum=o.momentum, weight_decay=o.weight_decay, fused=True)
        case recipes.AdamW() as o:
            return AdamW(weights, o.lr, weight_decay=o.weight_decay, fused=True)


def _unstacked(model: nn.Module, weights: Stacked, i: int) -> nn.Module:
    model.load_state_dict({name: w[i].detach().clone() for name, w in weights.items()})
    return model.eval()
