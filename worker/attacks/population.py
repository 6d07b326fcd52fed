"""One attacker for all rows: a threshold on a signal, forget rows against holdout rows of the same classes.

The signals are those of `worker.signals`; what is judged is the AUC, so no threshold has to be chosen.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from math import ceil
from typing import Final

import numpy as np
from scipy.stats import norm

from service.domain.policy import RELATIVE, AuditPlan, ScoredSignal
from service.domain.recipes import Population as Recipe
from service.domain.report import (
    Controls,
    Found,
    MaxStatistic,
    NullControl,
    OracleControl,
    PositiveControl,
    Power,
    Result,
)
from worker.case import MIN_PERSONS, Case
from worker.histograms import histogram
from worker.metrics import ks
from worker.registry import attack
from worker.resampling import Pool, halves, pool
from worker.scoring import scored
from worker.signals import Array
from worker.statistics import (
    Interval,
    Permuted,
    auc_variance,
    bca,
    bootstrap_aucs,
    detectable_auc,
    equivalence_power,
    influence,
    inside,
    matched_auc,
    permutation_test,
    rows_for_equivalence,
)

MIN_HOLDOUT: Final = 20     # persons or rows of the forget set's classes; fewer cannot be told from each other
NULL_LEVEL: Final = 0.01
NULL_DRAWS: Final = 999     # enough for that level
PAIRING: Final = 0.5        # ours, for planning only: correlation of two trainings' AUCs on the same rows
BEFORE, AFTER, REFERENCES = 0, 1, slice(2, None)


@dataclass(frozen=True)
class Population:
    """Scores (models, signals, N) of a pool's rows: the model before, the one after, then retrained ones."""

    plan: AuditPlan
    of: Pool
    scores: Array

    @classmethod
    def of_case(cls, case: Case) -> "Population":
        """The matched rows, and every model's scores of them."""
        f, h = case.matched
        return cls(case.plan, pool((f.y, h.y), (f.groups, h.groups)), scored(case))

    @property
    def k(self) -> int:
        return len(self.scores) - 2

    @property
    def signals(self) -> tuple[ScoredSignal, ...]:
        return self.plan.scored

    @cached_property
    def aucs(self) -> Array:
        """(models, signals)."""
        return self._each(lambda s: np.asarray(matched_auc(s, self.of)))

    @cached_property
    def draws(self) -> Array:
        """Bootstrapped AUCs (models, signals, B)."""
        flat = bootstrap_aucs(list(self.scores.reshape(-1, len(self.of.y))), self.of, self.plan.bootstrap, self.rng(1))
        return flat.reshape(*self.scores.shape[:2], -1)

    @cached_property
    def moves(self) -> Array:
        """Influences (models, signals, units)."""
        return self._each(lambda s: influence(s, self.of))

    @cached_property
    def tested(self) -> Permuted:
        return self._test(AFTER)

    def rng(self, use: int) -> np.random.Generator:
        """A stream of its own for each use, so that none depends on how much another drew."""
        return np.random.default_rng([self.plan.seed, use])

    def results(self) -> tuple[Result, ...]:
        """One line per signal."""
        return tuple(self._result(s) for s in range(len(self.signals)))

    def max_statistic(self) -> MaxStatistic:
        """The strongest signal, paid for by the number of signals."""
        return MaxStatistic(value=self.tested.statistic, p_value=self.tested.p_max)

    def controls(self) -> Controls:
        """Is the attack sound, does it see the rows before, and do retrained models pass it?"""
        return Controls(null=self._null(), positive=self._positive(), oracle=self._oracle())

    def power(self) -> Power:
        """From the numbers of persons alone, as it could have been planned."""
        n, m = self.of.sizes
        variances = 1.0 if not self.k else (1 + 1 / self.k) * (1 - PAIRING)
        return Power(
            alpha=self.plan.alpha,
            forget_units=n,
            holdout_units=m,
            min_detectable_auc=detectable_auc(n, m, alpha=self.plan.alpha, power=self.plan.power),
            planned_power_at_margin=equivalence_power(self.plan.margin, (variances * auc_variance(0.5, n, m)) ** 0.5),
            forget_units_needed=needed(self.plan.margin, self.plan.power, m, variances),
        )

    def _result(self, s: int) -> Result:
        low, high = self._gap(AFTER, s, 0.9)
        flagged = self._flagged(AFTER, s, self.tested) and not self._oracle_fails_as_far(s)
        return Result(
            rung="reference" if self.signals[s] in RELATIVE else "population",
            signal=self.signals[s],
            n_member=self.of.forget,
            n_nonmember=len(self.of.y) - self.of.forget,
            n_models=len(self.scores),
            auc=self.aucs[AFTER, s],
            auc_ci95=self._interval([AFTER], s, 0.95),
            auc_reference=self._level(AFTER, s),
            auc_reference_ci95=self._interval(self._others(AFTER), s, 0.95) if self.k else None,
            auc_original=self.aucs[BEFORE, s],
            auc_original_ci95=self._interval([BEFORE], s, 0.95),
            diff_vs_reference=self.aucs[AFTER, s] - self._level(AFTER, s),
            diff_ci90=(low, high),
            diff_ci95=self._gap(AFTER, s, 0.95),
            tost_p=self._tost(s),
            p_value_raw=self.tested.p[s],
            p_value_adjusted=self.tested.adjusted[s],
            ks_to_reference=self._ks(s),
            equivalent=inside((low, high), self.plan.margin),
            flagged=flagged,
        )

    def _flagged(self, model: int, s: int, tested: Permuted) -> bool:
        low, high = self._gap(model, s, 0.95)
        return tested.adjusted[s] < self.plan.alpha and not low <= 0 <= high

    def _oracle_fails_as_far(self, s: int) -> bool:
        """A retrained model that is flagged, and lies as far off as the audited one, takes the leak's meaning away."""
        off = abs(self.aucs[AFTER, s] - self._level(AFTER, s))
        return any(
            self._flagged(j, s, tested) and abs(self.aucs[j, s] - self._level(j, s)) >= off
            for j, tested in self._oracles.items()
        )

    @cached_property
    def _oracles(self) -> dict[int, Permuted]:
        """Each retrained model's own test; a lone one has no others to be compared with."""
        return {j: self._test(j) for j in range(2, 2 + self.k)} if self.k > 1 else {}

    def _oracle(self) -> OracleControl | None:
        signals = range(len(self.signals))
        failed = sum(any(self._flagged(j, s, t) for s in signals) for j, t in self._oracles.items())
        return OracleControl(n_passed=self.k - failed, n_total=self.k) if self._oracles else None

    def _null(self) -> NullControl | None:
        dealt = halves(self.of, self.rng(3))
        if dealt is None:
            return None
        pool, index = dealt
        draws = min(self.plan.permutations, NULL_DRAWS)
        p = permutation_test(self.scores[AFTER][:, index], pool, draws, self.rng(4)).p_max
        return NullControl(p=p, level=NULL_LEVEL, passed=p > NULL_LEVEL)

    def _positive(self) -> PositiveControl:
        intervals = [self._interval([BEFORE], s, 0.95) for s in range(len(self.signals))]
        needed = [self._level(AFTER, s) + self.plan.margin for s in range(len(intervals))]
        best = max(range(len(intervals)), key=lambda s: intervals[s][0] - needed[s])
        return PositiveControl(
            signal=self.signals[best],
            auc=self.aucs[BEFORE, best],
            ci95=intervals[best],
            needed=needed[best],
            passed=intervals[best][0] > needed[best],
        )

    def _others(self, model: int) -> list[int]:
        """The references that a model is compared with: all, but never itself."""
        return [j for j in range(2, 2 + self.k) if j != model]

    def _level(self, model: int, s: int) -> float:
        others = self._others(model)
        return float(self.aucs[others, s].mean()) if others else 0.5

    def _interval(self, models: list[int], s: int, level: float) -> Interval:
        """Of the models' mean AUC; one person has no spread, so its interval says nothing."""
        if min(self.of.sizes) < 2:
            return 0.0, 1.0
        return bca(
            self.draws[models, s].mean(axis=0),
            float(self.aucs[models, s].mean()),
            self.moves[models, s].mean(axis=0),
            level,
        )

    def _gap(self, model: int, s: int, level: float) -> Interval:
        """Of the model's AUC less its references', on the same draws."""
        others = self._others(model)
        if min(self.of.sizes) < 2:
            return -1.0, 1.0
        if not others:
            low, high = self._interval([model], s, level)
            return low - 0.5, high - 0.5
        draws = self.draws[model, s] - self.draws[others, s].mean(axis=0)
        moves = self.moves[model, s] - self.moves[others, s].mean(axis=0)
        return bca(draws, self.aucs[model, s] - self._level(model, s), moves, level)

    def _tost(self, s: int) -> float:
        """The larger p of the two one-sided tests, by a normal approximation to the bootstrap's spread."""
        if min(self.of.sizes) < 2:
            return 1.0
        others = self._others(AFTER)
        draws = self.draws[AFTER, s] - (self.draws[others, s].mean(axis=0) if others else 0.5)
        gap, se = abs(self.aucs[AFTER, s] - self._level(AFTER, s)), float(draws.std(ddof=1))
        return float(norm.sf((self.plan.margin - gap) / se)) if se else float(gap >= self.plan.margin)

    def _ks(self, s: int) -> float | None:
        rows = self.scores[:, s, : self.of.forget]
        return float(np.mean([ks(rows[AFTER], other) for other in rows[REFERENCES]])) if self.k else None

    def _test(self, model: int) -> Permuted:
        return permutation_test(self.scores[model], self.of, self.plan.permutations, self.rng(2))

    def _each(self, function: Callable[[Array], Array]) -> Array:
        return np.array([[function(s) for s in model] for model in self.scores])


@attack(Recipe)
def population(case: Case, recipe: Recipe) -> Found:
    """Every planned signal, and what says whether the comparison can be trusted."""
    del recipe
    if case.matched[1].persons() < MIN_HOLDOUT:
        return Found()
    tried = Population.of_case(case)
    return Found(
        results=tried.results(),
        max_statistic=tried.max_statistic(),
        controls=tried.controls(),
        power=tried.power(),
        loss_histogram=histogram(case) if case.forget.persons() >= MIN_PERSONS else None,
    )


def needed(margin: float, power: float, holdout: float, variances: float) -> int | None:
    """Units to forget that give this power beside a holdout of this size; None if no number does."""
    room = 2 / rows_for_equivalence(margin, power) - variances / holdout
    return ceil(variances / room) if room > 0 else None
