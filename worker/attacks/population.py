"""One attacker for all rows: a threshold on a signal, forget rows against holdout rows of the same classes.

The signals are those of `worker.signals`; what is judged is the AUC, so no threshold has to be chosen.
"""

from dataclasses import replace
from typing import Final

import numpy as np

from service.domain.policy import RELATIVE
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
from worker.comparison import AFTER, BEFORE, REFERENCES, Comparison
from worker.conventions import conventions
from worker.histograms import histogram
from worker.metrics import ks
from worker.nulls import permutation_test
from worker.operating import balanced_accuracy, curve, roc, tpr_at
from worker.persons import persons
from worker.power import detectable_auc, planned, power_curve, units_needed
from worker.registry import attack
from worker.resampling import halves
from worker.statistics import inside
from worker.strata import parts, stratum

MIN_HOLDOUT: Final = 20     # persons or rows of the forget set's classes; fewer cannot be told from each other
NULL_LEVEL: Final = 0.01
NULL_DRAWS: Final = 999     # enough for that level


@attack(Recipe)
def population(case: Case, recipe: Recipe) -> Found:
    """Every planned signal, and what says whether the comparison can be trusted."""
    if case.matched[1].persons() < MIN_HOLDOUT:
        return Found()
    tried = Comparison.of_case(case)
    some = parts(case, tried)
    tried = replace(tried, beside=(curve(tried.scores[AFTER, tried.headline], tried.of), *some))
    many = case.forget.persons() >= MIN_PERSONS
    drawn, *of_parts = tried.drawn_beside
    signal = tried.signals[tried.headline]
    return Found(
        results=tuple(_result(tried, s) for s in range(len(tried.signals))),
        max_statistic=MaxStatistic(
            test="sign_flip" if tried.k else "permutation", value=tried.tested.statistic, p_value=tried.tested.p_max
        ),
        controls=Controls(null=_null(tried), positive=_positive(tried), oracle=_oracle(tried)),
        power=_power(tried),
        strata=tuple(stratum(part, case, tried, of_part) for part, of_part in zip(some, of_parts, strict=True)),
        persons=persons(tried),
        roc=roc(signal, tried.scores[:, tried.headline], tried.of, drawn) if many else None,
        loss_histogram=histogram(case) if many else None,
        conventions=conventions(case) if recipe.conventions else (),
    )


def _result(tried: Comparison, s: int) -> Result:
    low, high = tried.gap(AFTER, s, 0.9)
    scores = tried.scores[AFTER, s]
    return Result(
        rung="reference" if tried.signals[s] in RELATIVE else "population",
        signal=tried.signals[s],
        n_member=tried.of.forget,
        n_nonmember=len(tried.of.y) - tried.of.forget,
        n_models=len(tried.scores),
        auc=tried.aucs[AFTER, s],
        auc_ci95=tried.interval([AFTER], s, 0.95),
        auc_reference=tried.level(AFTER, s),
        auc_reference_ci95=tried.interval(tried.others(AFTER), s, 0.95) if tried.k else None,
        auc_original=tried.aucs[BEFORE, s],
        auc_original_ci95=tried.interval([BEFORE], s, 0.95),
        diff_vs_reference=tried.distance(AFTER, s),
        diff_ci90=(low, high),
        diff_ci95=tried.gap(AFTER, s, 0.95),
        tost_p=tried.tost(s),
        balanced_accuracy=balanced_accuracy(scores, tried.of, tried.rng(5)),
        tpr_at=tpr_at(scores, tried.of),
        p_value_raw=tried.tested.p[s],
        p_value_adjusted=tried.tested.adjusted[s],
        ks_to_reference=_ks(tried, s),
        equivalent=inside((low, high), tried.plan.margin),
        flagged=tried.leaks(s),
    )


def _ks(tried: Comparison, s: int) -> float | None:
    rows = tried.scores[:, s, : tried.of.forget]
    return float(np.mean([ks(rows[AFTER], other) for other in rows[REFERENCES]])) if tried.k else None


def _null(tried: Comparison) -> NullControl | None:
    """The holdout against itself."""
    dealt = halves(tried.of, tried.rng(3))
    if dealt is None:
        return None
    pool, index = dealt
    draws = min(tried.plan.permutations, NULL_DRAWS)
    p = permutation_test(tried.ranked_apart(AFTER)[:, index], pool, draws, tried.rng(4)).p_max
    return NullControl(p=p, level=NULL_LEVEL, passed=p > NULL_LEVEL)


def _positive(tried: Comparison) -> PositiveControl:
    """Does the attack see the rows in the model before, where they were in training?"""
    intervals = [tried.interval([BEFORE], s, 0.95) for s in range(len(tried.signals))]
    needed = [tried.level(AFTER, s) + tried.plan.margin for s in range(len(intervals))]
    best = max(range(len(intervals)), key=lambda s: intervals[s][0] - needed[s])
    return PositiveControl(
        signal=tried.signals[best],
        auc=tried.aucs[BEFORE, best],
        ci95=intervals[best],
        needed=needed[best],
        passed=intervals[best][0] > needed[best],
    )


def _oracle(tried: Comparison) -> OracleControl | None:
    """Do retrained models pass, each beside the others?"""
    signals = range(len(tried.signals))
    failed = sum(any(tried.flagged(j, s, test) for s in signals) for j, test in tried.oracles.items())
    return OracleControl(n_passed=tried.k - failed, n_total=tried.k) if tried.oracles else None


def _power(tried: Comparison) -> Power:
    """From the numbers of persons alone, as it could have been planned."""
    plan, (n, m) = tried.plan, tried.of.sizes
    return Power(
        alpha=plan.alpha,
        forget_units=n,
        holdout_units=m,
        min_detectable_auc=detectable_auc(n, m, alpha=plan.alpha, power=plan.power),
        planned_power_at_margin=planned(plan.margin, n, m, k=tried.k),
        forget_units_needed=units_needed(plan.margin, plan.power, m, k=tried.k),
        curve=tuple(power_curve(n, m, alpha=plan.alpha, power=plan.power)),
    )
