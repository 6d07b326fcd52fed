"""Is the new model nearer to retrained ones than to the original? A relative test with three samples.

After Regularised f-divergence kernel tests. AISTATS 2026. arXiv:2601.19755, which asks the same question of kernel
divergences. Ours: the distance is |Δφ| row by row, φ the logit-scaled confidence, and persons are what varies.

RMIA and the calibrated confidence, the other half of this rung, are signals: see `worker.rmia` and `worker.scoring`.
"""

from typing import Final

import numpy as np

from service.domain.recipes import Reference as Recipe
from service.domain.report import Found, RelativeTest
from worker.case import Case
from worker.registry import attack
from worker.rmia import others, weight
from worker.signals import Array, Labels, confidence
from worker.statistics import cluster_interval

BEFORE, AFTER, FIRST = 0, 1, 2
BLOCK: Final = 1 << 20      # signs drawn at a time


@attack(Recipe)
def reference(case: Case, recipe: Recipe) -> Found:
    """Conditional on these k + 2 models: over new trainings, a p-value below 1/(k + 1) would be impossible."""
    side = case.forget
    phi = np.array([confidence(z, side.y) for z in side.logits])
    nearer = [nearness(phi, m) for m in range(AFTER, len(phi))]
    low, high = cluster_interval(nearer[0], side.groups, 0.95)
    return Found(
        relative_test=RelativeTest(
            d_to_retrained=to_others(phi, AFTER).mean(),
            d_to_original=np.abs(phi[AFTER] - phi[BEFORE]).mean(),
            d_between_retrained=float(np.mean([to_others(phi, m) for m in range(FIRST, len(phi))])),
            statistic=nearer[0].mean(),
            ci95=(low, high) if np.isfinite(low) else None,
            p_value=sign_flip(nearer[0], side.units, case.plan.permutations, case.rng("relative")),
            statistic_references=tuple(row.mean() for row in nearer[1:]),
            n_models=len(phi),
            rmia_a=weight(case, recipe),
        )
    )


def to_others(phi: Array, model: int) -> Array:
    """(n,): mean distance to the references, but not to itself."""
    return np.abs(phi[model] - phi[others(len(phi), model)]).mean(axis=0)


def nearness(phi: Array, model: int) -> Array:
    """(n,): by how much the original is farther away than retrained models are."""
    return np.abs(phi[model] - phi[BEFORE]) - to_others(phi, model)


def sign_flip(values: Array, units: Labels, draws: int, rng: np.random.Generator) -> float:
    """One-sided p-value of a mean > 0; a person's rows flip together.

    Exact where each person's sum is symmetric about 0 under H0 "not nearer"; for many persons H0 "mean ≤ 0" is enough.
    """
    sums = np.bincount(units, values)
    seen, above = sums.sum() - 1e-12 * np.abs(sums).sum(), 1        # equal is not smaller
    block = max(1, BLOCK // len(sums))
    for start in range(0, draws, block):
        signs = 2.0 * rng.integers(0, 2, (min(block, draws - start), len(sums))) - 1
        above += int((signs @ sums >= seen).sum())
    return above / (1 + draws)
