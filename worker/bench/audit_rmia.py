"""How long RMIA takes to score, and how large an array it needs: `relative` on made-up answers of ten classes."""

import tracemalloc
from collections.abc import Callable
from time import perf_counter
from typing import Final

import numpy as np
import torch
from torch import nn

from service.domain.policy import AuditPlan
from service.domain.recipes import Population, Reference
from worker.case import AuditSets, Case
from worker.data import Rows
from worker.optimise import Progress, ignore
from worker.rmia import relative
from worker.sides import Side
from worker.signals import Array

CLASSES: Final = 10
ROUNDS: Final = 3


def rmia(k: int = 4, population: int = 2_000, targets: int = 10_000) -> dict[str, float]:
    """Seconds (the best of three), and MiB that were held at most: no array can be larger than that."""
    rung = Reference(population=population)
    case = made(k, population, targets, rung)
    pooled, y = case.forget.logits, case.forget.y

    def once() -> float:
        start = perf_counter()
        relative(case, rung, pooled, y)
        return perf_counter() - start

    seconds = min(once() for _ in range(ROUNDS))
    return {"rmia_s": round(seconds, 4), "rmia_largest_mb": round(_peak(once), 2)}


def made(k: int, population: int, targets: int, rung: Reference) -> Case:
    """A case of random answers."""
    rng = np.random.default_rng(0)
    forget, z = (_side(rng, k + 2, n) for n in (targets, population))
    nothing = Rows(torch.empty(0, 1), torch.empty(0, dtype=torch.int64))
    return Case(
        plan=AuditPlan(rungs=(Population(), rung), references=k),
        models=[nn.Identity() for _ in range(k + 2)],
        sets=AuditSets(nothing, nothing, nothing),
        forget=forget,
        holdout=z,
        retain=z,
        progress=Progress(1, ignore),
        population=z,
    )


def _side(rng: np.random.Generator, models: int, n: int) -> Side:
    answers: list[Array] = [rng.normal(size=(n, CLASSES)) for _ in range(models)]
    return Side(rng.integers(0, CLASSES, n), None, answers)


def _peak(work: Callable[[], object]) -> float:
    tracemalloc.start()
    work()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return peak / 2**20
