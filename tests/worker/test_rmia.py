"""RMIA against a double loop over probabilities, and on models whose leak is known."""

from math import exp

import numpy as np
import pytest

from service.domain.policy import AuditPlan
from service.domain.recipes import Population, Reference
from service.errors import BadInput
from tests.worker.audit_sides import case, labels, of_odds
from worker.bench.audit_rmia import rmia as bench
from worker.metrics import auc
from worker.rmia import calibrated, relative, rmia, weight
from worker.scoring import scored
from worker.signals import confidence


def naive(phi, of_z, gamma, a):
    """The definition: probabilities, one pair at a time, leave-one-out for references."""
    p, p_z = ([[1 / (1 + exp(-v)) for v in row] for row in part] for part in (phi, of_z))
    out = []
    for m in range(len(p)):
        rest = [j for j in range(2, len(p)) if j != m]

        def ratio(of, i, m=m, rest=rest):
            mean = sum(of[j][i] for j in rest) / len(rest)
            return of[m][i] / ((1 + a) / 2 * mean + (1 - a) / 2)

        wins = [[ratio(p, x) / ratio(p_z, z) >= gamma for z in range(len(p_z[0]))] for x in range(len(p[0]))]
        out.append([sum(row) / len(row) for row in wins])
    return out


@pytest.mark.parametrize("gamma", [1.0, 1.3, 2.0])
@pytest.mark.parametrize("a", [0.0, 0.3, 1.0])
def test_scores_are_those_of_the_double_loop(gamma, a):
    rng = np.random.default_rng(1)
    phi, of_z = 2 * rng.normal(size=(5, 30)), 2 * rng.normal(size=(5, 40))

    assert rmia(phi, of_z, gamma=gamma, a=a) == pytest.approx(np.array(naive(phi, of_z, gamma, a)))


def test_scores_by_hand():
    """a = 1: P is the references' mean, ½ everywhere; the model says .9, .5, .2 of x and .3, .45, .6 of z."""
    odds = [np.log(p / (1 - p)) for p in (np.array([0.9, 0.5, 0.2]), np.array([0.3, 0.45, 0.6]))]
    phi, of_z = (np.stack([row, row, 0 * row, 0 * row]) for row in odds)

    assert rmia(phi, of_z, gamma=1.0, a=1.0)[0] == pytest.approx([1, 2 / 3, 0])
    assert rmia(phi, of_z, gamma=1.4, a=1.0)[0] == pytest.approx([1, 1 / 3, 0])
    assert rmia(phi, of_z, gamma=2.5, a=1.0)[0] == pytest.approx([1 / 3, 0, 0])


def test_the_ratio_may_equal_gamma():
    phi, of_z = np.zeros((4, 3)), np.zeros((4, 5))

    assert (rmia(phi, of_z, gamma=1.0, a=0.3) == 1).all()


def test_a_reference_is_compared_with_the_others_alone():
    phi = np.array([[0.0], [0.0], [1.0], [2.0], [6.0]])

    assert calibrated(phi).ravel() == pytest.approx([-3, -3, 1 - 4, 2 - 3.5, 6 - 1.5])


def test_answers_of_any_size_give_scores():
    phi = np.array([[800.0, -800.0, 0.0]] * 2 + [[-800.0, 800.0, 0.0]] * 2)

    for a in (0.0, 0.3, 1.0):
        scores = rmia(phi, phi, gamma=2.0, a=a)
        assert np.isfinite(scores).all()
        assert (scores >= 0).all()
        assert (scores <= 1).all()


def memorised(rng, n=400, m=900, leak=1.5, k=4, spread=2.0, plan=None):
    """Rows of different difficulty, which hide a leak from one model's score alone."""
    hard_f, hard_h, hard_z, hard_r = (spread * rng.normal(size=s) for s in (n, m, 500, 800))

    def odds(hard, rows, lift):
        return hard + lift[:, None] + 0.4 * rng.normal(size=(k + 2, rows))

    knew = np.array([leak, *np.zeros(k + 1)])
    never, always = np.zeros(k + 2), np.full(k + 2, 2.0)
    parts = [(hard_f, n, knew), (hard_h, m, never), (hard_r, 800, always), (hard_z, 500, never)]
    forget, holdout, retain, z = (of_odds(odds(*each), labels(each[1], rng)) for each in parts)
    return case(forget, holdout, retain, z, plan)


PLAN = AuditPlan(rungs=(Population(), Reference(population=300)), signals=("loss",))


@pytest.mark.parametrize("gamma", [1.0, 2.0])
def test_references_make_a_leak_visible_that_difficulty_hides(gamma):
    rung = Reference(population=300, gamma=gamma)
    plan = PLAN.model_copy(update={"rungs": (Population(), rung)})

    scores = scored(memorised(np.random.default_rng(2), plan=plan))
    loss, difference, ratios = (auc(row[:400], row[400:]) for row in scores[0])

    assert difference > 0.95
    assert ratios > loss + 0.03


def test_models_that_never_saw_the_rows_score_them_like_others():
    scores = scored(memorised(np.random.default_rng(3), plan=PLAN))

    for model in scores[1:]:
        assert [auc(row[:400], row[400:]) for row in model[1:]] == pytest.approx([0.5, 0.5], abs=0.06)


def test_the_population_is_drawn_by_the_seed_and_no_larger_than_planned():
    one, two = (memorised(np.random.default_rng(4), plan=PLAN) for _ in range(2))
    scores = scored(one)

    assert (scores == scored(two)).all()
    assert scores[:, -1] * 300 == pytest.approx(np.round(scores[:, -1] * 300))


def test_too_few_population_rows_are_refused():
    made = memorised(np.random.default_rng(5), plan=PLAN)
    few = case(made.forget, made.holdout, made.retain, made.population.take(np.arange(99)), PLAN)

    with pytest.raises(BadInput, match=r"at least 100 population rows .* there are 99"):
        scored(few)
    with pytest.raises(BadInput, match="there are 0"):
        relative(case(made.forget, made.holdout, made.retain), Reference(), made.forget.logits, made.forget.y)


def test_without_a_weight_in_the_plan_the_references_alone_say_it():
    made = memorised(np.random.default_rng(6), plan=PLAN)
    p_in, p_out = (
        np.mean([1 / (1 + np.exp(-confidence(z, s.y))) for z in s.logits[2:]]) for s in (made.retain, made.population)
    )

    found = weight(made, Reference(a=None))

    assert found == pytest.approx((1 - p_in) / (1 - p_out), abs=0.05)
    assert 0 < found < 1
    assert weight(made, Reference(a=0.7)) == 0.7


def test_the_weight_does_not_depend_on_the_audited_model_or_the_forget_rows():
    one, other = (memorised(np.random.default_rng(7), leak=leak, plan=PLAN) for leak in (0.0, 6.0))

    assert weight(one, Reference(a=None)) == weight(other, Reference(a=None))


def test_the_callers_arrays_are_not_changed():
    rng = np.random.default_rng(8)
    phi, of_z = rng.normal(size=(4, 20)), rng.normal(size=(4, 30))
    before = phi.copy(), of_z.copy()

    rmia(phi, of_z, gamma=2.0, a=0.3)

    assert (phi == before[0]).all()
    assert (of_z == before[1]).all()


def test_no_array_is_as_large_as_rows_times_population():
    """10,000 × 2,000 ratios would be 153 MiB."""
    assert 0 < bench()["rmia_largest_mb"] < 16
