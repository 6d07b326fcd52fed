"""Training on retain rows alone: does the model regain what it was made to forget?

Benign relearning, as arXiv:2505.22310 applies it to vision models: no forget row is trained on, and accuracy on the
forget rows is looked at on the way. A model that only hides them regains it sooner than one that never saw them.
The optimiser is the training's own, its rate constant and small. The rows of a step are not augmented, and running
statistics move as in training. Steps, rate, seeds and looks are the plan's: nothing is stopped by what is seen.

Differs from the paper: 200 steps and not 100 epochs, and beside it the same training of a retrained model.
"""

from collections.abc import Iterator, Sequence
from copy import deepcopy
from dataclasses import dataclass
from typing import Final

import numpy as np
import torch
from torch import nn

from service.domain.recipes import Relearning as Recipe
from service.domain.recipes import Training
from service.domain.report import Found, Relearning, Skipped
from service.errors import Diverged
from worker import training
from worker.asking import Ask
from worker.case import Case
from worker.data import Batch, Batches, Rows
from worker.metrics import correct
from worker.optimise import Objective, Progress, descend, repeatable, trainable
from worker.registry import attack
from worker.resampling import pool
from worker.sides import Side, answer
from worker.signals import Array, Labels, confidence
from worker.statistics import cluster_interval, matched_auc

MOST: Final = 2_000         # rows of each side that are looked at
SHARE_OF_RATE: Final = 0.1  # of the recipe's base rate: at the end of a linear or cosine schedule it is 0


@attack(Recipe)
def relearning(case: Case, recipe: Recipe) -> Found:
    """Curves of the new model and of the first references, over seeds.

    The interval of the excess is over persons, after the seeds are averaged: it holds for these models.
    """
    if case.spec is None and recipe.lr is None:
        return _skipped("the training recipe is not known, and the plan names no rate")
    if not trainable(case.models[1]):
        return _skipped("every weight of the new model is frozen")
    course = _course(case, recipe)
    try:
        after = [course.run(1, seed) for seed in course.seeds]
        beside = [course.run(2 + k, seed) for k in range(_beside(case, recipe)) for seed in course.seeds]
    except Diverged:
        return _skipped("training on retain rows alone ran into numbers that are not finite")
    return Found(relearning=(_told(course, after, beside),))


@dataclass(frozen=True)
class Run:
    """What was seen of one model and seed."""

    hits: Array     # (looks, n) 1 where a forget row is predicted right
    aucs: Array     # (looks,) of the logit-scaled confidence; none where no class is on both sides


@dataclass(frozen=True)
class Course:
    """What every model goes through alike; a seed decides the order of the rows."""

    case: Case
    training: Training
    steps: tuple[int, ...]
    seeds: tuple[int, ...]
    forget: Labels          # positions of the rows that are looked at
    holdout: Labels

    def run(self, model: int, seed: int) -> Run:
        """Train a copy, and look at it on the way."""
        copy = deepcopy(self.case.models[model])
        copy.zero_grad()
        rng = torch.Generator().manual_seed(seed)
        sides = [self.case.forget.take(self.forget), self.case.holdout.take(self.holdout)]
        looks = [self._look([Side(s.y, s.groups, [s.logits[model]]) for s in sides])]
        with repeatable(), training.drawn_from(rng):
            looks.extend(self._look(self._asked(copy)) for _ in _taught(copy, self, rng))
        return Run(np.stack([hits for hits, _ in looks]), np.array([auc for _, auc in looks if auc is not None]))

    def _asked(self, model: nn.Module) -> list[Side]:
        sets = ((self.case.sets.forget, self.forget), (self.case.sets.holdout, self.holdout))
        return [_side(model, rows, index) for rows, index in sets]

    def _look(self, sides: Sequence[Side]) -> tuple[Array, float | None]:
        f, h = sides
        return correct(f.logits[0], f.y), _auc(f.of(h.y), h.of(f.y))


def _course(case: Case, recipe: Recipe) -> Course:
    rng = case.rng("relearning")
    known = Training() if case.spec is None else case.spec.training     # not known: the menu's AdamW
    lr = recipe.lr or float(f"{SHARE_OF_RATE * known.optimizer.lr:.6g}")
    optimiser = known.optimizer.model_copy(update={"lr": lr})
    looks = np.unique(np.linspace(0, recipe.steps, recipe.looks + 1).round().astype(int))
    return Course(
        case,
        known.model_copy(update={"optimizer": optimiser}),
        steps=tuple(looks.tolist()),
        seeds=tuple(rng.integers(2**31, size=recipe.seeds).tolist()),
        forget=_some(len(case.forget), rng),
        holdout=_some(len(case.holdout), rng),
    )


def _some(n: int, rng: np.random.Generator) -> Labels:
    return np.arange(n) if n <= MOST else np.sort(rng.choice(n, MOST, replace=False))


def _beside(case: Case, recipe: Recipe) -> int:
    return min(recipe.references, case.k)


def _taught(model: nn.Module, course: Course, rng: torch.Generator) -> Iterator[int]:
    """Train in place; after each part of the steps it is time to look."""
    rows, device = course.case.sets.retain, next(model.parameters()).device
    drawn = Batches(rows, rng, course.training.batch)
    optimiser = training.optimiser_of(course.training, model)
    model.train(len(rows) // drawn.count > 1)       # the running statistics of a lone row are that row
    progress = Progress(course.steps[-1], lambda _done, _total: course.case.progress.beat())

    def objective(ask: Ask) -> Objective:
        batch = _moved(next(drawn), device)
        return Objective(retain=batch.losses(*ask(batch)).mean())

    for start, end in zip(course.steps, course.steps[1:], strict=False):
        descend(model, objective, optimiser, steps=end - start, progress=progress)
        yield end


def _moved(batch: Batch, device: torch.device) -> Batch:
    return Batch(batch.x.to(device), batch.y.to(device))


def _side(model: nn.Module, rows: Rows, index: Labels) -> Side:
    part = rows.take(torch.as_tensor(index, device=rows.y.device))
    groups = None if part.groups is None else part.groups.cpu().numpy()
    return Side(part.y.cpu().numpy(), groups, [answer(model, part)])


def _auc(f: Side, h: Side) -> float | None:
    if not len(f):
        return None
    phi = np.concatenate([confidence(side.logits[0], side.y) for side in (f, h)])
    return matched_auc(phi, pool((f.y, h.y), (None, None)))


def _told(course: Course, after: Sequence[Run], beside: Sequence[Run]) -> Relearning:
    regained = _regained(after)
    more = regained - _regained(beside) if beside else None
    groups = course.case.forget.take(course.forget).groups
    return Relearning(
        steps=course.steps,
        lr=course.training.optimizer.lr,
        seeds=course.seeds,
        n_references=len(beside) // len(course.seeds),
        forget_acc_curve_unlearned=_curve(after),
        forget_acc_curve_reference=_curve(beside) if beside else None,
        auc_curve_unlearned=_auc_curve(after),
        auc_curve_reference=_auc_curve(beside) if beside else None,
        regained=float(regained.mean()),
        regained_reference=float(_regained(beside).mean()) if beside else None,
        excess=None if more is None else float(more.mean()),
        excess_ci95=None if more is None else _interval(more, groups),
    )


def _regained(runs: Sequence[Run]) -> Array:
    """(n,) mean over models and seeds of whether a row is right at the end, less at the start."""
    return np.mean([run.hits[-1] - run.hits[0] for run in runs], axis=0)


def _curve(runs: Sequence[Run]) -> tuple[float, ...]:
    return tuple(np.mean([run.hits for run in runs], axis=(0, 2)).tolist())


def _auc_curve(runs: Sequence[Run]) -> tuple[float, ...]:
    return tuple(np.mean([run.aucs for run in runs], axis=0).tolist())


def _interval(values: Array, groups: Labels | None) -> tuple[float, float] | None:
    """Of a single person there is none."""
    interval = cluster_interval(values, groups, 0.95)
    return interval if np.isfinite(interval).all() else None


def _skipped(reason: str) -> Found:
    return Found(skipped=(Skipped(rung="relearning", reason=reason),))
