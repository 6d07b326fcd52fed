"""Rung 3b: how well can an auditor guess which canaries were trained on and unlearned, and which were never there?

Privacy Auditing with One (1) Training Run. Steinke, Nasr, Jagielski. NeurIPS 2023. arXiv:2305.08846.

The coin of a canary decided, before training, whether it is put in and its deletion is asked for. So the bound is on
the ε of training and unlearning together, against never having been there. The score is the logit-scaled confidence of
the new model, which knows nothing of the coins.
"""

import numpy as np

from service.domain.recipes import OneRun as Recipe
from service.domain.report import Found, Skipped
from worker import epsilon
from worker.case import Case
from worker.data import Rows
from worker.registry import attack
from worker.sides import answer
from worker.signals import confidence


@attack(Recipe)
def one_run(case: Case, recipe: Recipe) -> Found:
    """The lower bound, where there are canaries enough."""
    if case.sets.canaries is None:
        return _skipped("the data set has no planted canaries")
    forgotten, never = case.sets.canaries
    m = len(forgotten) + len(never)
    if m < recipe.least:
        return _skipped(f"there are {m} canaries, and fewer than {recipe.least} cannot say anything")
    if forgotten.y.is_floating_point():
        return _skipped("the confidence in the true class needs classes")
    scores = np.concatenate([_confidence(case, rows) for rows in (forgotten, never)])
    included = np.arange(m) < len(forgotten)
    shuffled = case.rng("one_run").permutation(m)       # so that ties are not broken by the coins
    return Found(
        epsilon=epsilon.one_run(
            scores[shuffled], included[shuffled], _guesses(m, recipe), alpha=recipe.alpha, delta=recipe.delta
        )
    )


def _confidence(case: Case, rows: Rows) -> np.ndarray:
    """(n,) under the new model; there may be none on one side."""
    return confidence(answer(case.models[1], rows), rows.y.cpu().numpy()) if len(rows) else np.zeros(0)


def _guesses(canaries: int, recipe: Recipe) -> int:
    """Fixed by the plan and their number alone."""
    return max(2, round(recipe.guesses * canaries) // 2 * 2)


def _skipped(reason: str) -> Found:
    return Found(skipped=(Skipped(rung="one_run", reason=reason),))
