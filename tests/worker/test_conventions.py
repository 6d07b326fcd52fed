"""Others' attacks as they compute them: their signs, their quirks, and what is mended."""

from math import exp, log

import numpy as np
import pytest
from scipy.stats import spearmanr
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedShuffleSplit, cross_val_score

from service.domain.recipes import Population
from tests.worker.audit_cases import QUICK, Cases
from tests.worker.audit_sides import case, labels, side
from worker.auditing import audit
from worker.conventions import conventions
from worker.conventions.crossed import crossed
from worker.conventions.nabla_tau import balanced
from worker.conventions.salun import as_coded, coded_entropy, efficacy, probability
from worker.signals import modified_entropy


def answers(n, lifts, rng, classes=4):
    """One set: by how much each model raises the true class."""
    y, z = labels(n, rng, classes), rng.normal(size=(len(lifts), n, classes))
    z[:, np.arange(n), y] += np.asarray(lifts, float)[:, None]
    return side(list(z), y)


def made(forget=(4, 4, 0, 0), n=300, m=300, seed=0):
    """Retain rows are known to all models, test rows to none."""
    rng = np.random.default_rng(seed)
    k = len(forget)
    return case(answers(n, forget, rng), answers(m, [0] * k, rng), answers(400, [4] * k, rng))


def by_name(found):
    return {each.name: each for each in found}


def test_every_attack_tells_a_known_row_from_an_unknown_one_in_its_own_sign():
    found = by_name(conventions(made(forget=(4, 0, 0, 0))))

    for name in ("mia_l", "mia_e", "starting_kit.loss", "bad_teacher.entropy"):
        assert found[name].original > found[name].value + 0.2
    for name in ("correctness", "confidence", "entropy", "prob"):
        assert found[f"svc_mia.{name}"].original < found[f"svc_mia.{name}"].value - 0.3
    assert all(each.value == pytest.approx(each.reference, abs=0.1) for each in found.values())
    assert found["svc_mia_mended.attacker"].value > 0.8


def test_doing_nothing_keeps_the_number_of_the_original():
    found = conventions(made())

    assert all(each.original == pytest.approx(each.value, abs=0.08) for each in found)


def test_without_retrained_models_there_is_no_reference():
    assert all(each.reference is None for each in conventions(made(forget=(4, 0))))


def test_the_accuracy_is_that_of_sklearns_cross_validation():
    rng = np.random.default_rng(0)
    a, b = rng.normal(1, 1, 90), rng.normal(0, 1, 90)
    splits = StratifiedShuffleSplit(n_splits=10, random_state=0)

    expected = cross_val_score(
        LogisticRegression(), np.concatenate([a, b])[:, None], [1] * 90 + [0] * 90, cv=splits, scoring="accuracy"
    )

    assert crossed(a, b) == pytest.approx(expected.mean())


def test_one_direction_sees_over_forgetting_too():
    found = by_name(conventions(made(forget=(4, -8, 0, 0))))

    assert found["mia_l"].value > 0.95


def test_known_losses_give_known_accuracies():
    low, high = np.zeros(1_000), np.full(1_000, 5.0)
    same = np.random.default_rng(5).exponential(size=(2, 1_000))

    assert crossed(low, high) == crossed(high, low) == 1
    assert crossed(low, low) == 0.5
    assert crossed(*same) == pytest.approx(0.5, abs=0.05)


def test_the_larger_side_is_cut_to_the_smaller():
    a, b = balanced(np.arange(50.0), np.arange(20.0))

    assert len(a) == len(b) == 20
    assert set(a) <= set(np.arange(50.0))
    assert (b == np.arange(20.0)).all()


def test_the_starting_kit_has_a_floor_where_forget_rows_are_few():
    found = by_name(conventions(made(forget=(0, 0, 0), n=40, m=360)))

    assert found["starting_kit.loss"].value == pytest.approx(0.9, abs=0.01)
    assert found["mia_l"].value < 0.75


def naive_coded(p, y):
    """Loop over rows and classes; a class that any row has as its label counts for all rows."""
    present = set(y.tolist())
    return [-sum((1 - q if i in present else q) * log(q) for i, q in enumerate(row)) for row in p]


def naive_right(p, y):
    pairs = zip(p, y, strict=True)
    return [
        -(1 - row[c]) * log(row[c]) - sum(q * log(1 - q) for i, q in enumerate(row) if i != c) for row, c in pairs
    ]


def softened(z):
    return [[exp(v) / sum(map(exp, row)) for v in row] for row in z]


@pytest.mark.parametrize("present", [2, 4])
def test_the_coded_entropy_is_that_of_the_loop(present):
    rng = np.random.default_rng(1)
    z, y = rng.normal(size=(30, 4)), labels(30, rng, present)

    assert coded_entropy(z, y) == pytest.approx(naive_coded(softened(z), y))
    assert modified_entropy(z, y) == pytest.approx(naive_right(softened(z), y))


def test_permuted_labels_leave_the_coded_entropy_as_it_was_and_change_ours():
    rng = np.random.default_rng(2)
    z = 2 * rng.normal(size=(500, 10))
    y = np.where(rng.random(500) < 0.8, z.argmax(axis=1), labels(500, rng, 10))
    other = rng.permutation(y)

    assert (coded_entropy(z, y) == coded_entropy(z, other)).all()
    assert np.abs(modified_entropy(z, y) - modified_entropy(z, other)).mean() > 0.5


def test_the_coded_entropy_runs_against_the_right_one():
    rng = np.random.default_rng(3)
    z = 2 * rng.normal(size=(2_000, 10))
    y = np.where(rng.random(2_000) < 0.9, z.argmax(axis=1), labels(2_000, rng, 10))

    assert spearmanr(coded_entropy(z, y), modified_entropy(z, y)).statistic < -0.4


def test_the_coded_attack_gives_one_number_whosever_the_labels_are_and_the_mended_one_two():
    """Answers are equally sure of every set, but on members the sure class is the right one."""
    rng = np.random.default_rng(4)

    def sure(n, right):
        y, z = labels(n, rng), np.zeros((n, 2))
        z[np.arange(n), np.where(rng.random(n) < right, y, 1 - y)] = 4 + 0.1 * rng.normal(size=n)
        return side([z] * 2, y)

    forget, holdout, retain = sure(300, 1.0), sure(300, 0.3), sure(400, 1.0)
    turned = side(forget.logits, 1 - forget.y)
    one, other = (by_name(conventions(case(rows, holdout, retain))) for rows in (forget, turned))

    assert one["svc_mia.m_entropy"].value == other["svc_mia.m_entropy"].value
    assert one["svc_mia_mended.modified_entropy"].value < 0.05
    assert other["svc_mia_mended.modified_entropy"].value > 0.95


def test_the_first_rows_teach_the_coded_attacker_and_the_seed_chooses_none():
    of = made()
    attacker = as_coded(of)

    assert (attacker.seen.y == of.retain.y[:300]).all()
    assert efficacy(of) == tuple(attacker.efficacy(model, probability) for model in range(4))


@pytest.mark.slow
def test_the_same_case_gives_the_same_numbers():
    assert conventions(made(n=700, m=800)) == conventions(made(n=700, m=800))


@pytest.mark.parametrize("sizes", [{"n": 19}, {"m": 19}])
def test_a_handful_of_rows_gives_no_number(sizes):
    assert conventions(made(**sizes)) == ()


def test_persons_do_not_stand_on_both_halves_of_the_mended_attack_and_one_person_is_no_error():
    of = made()
    alone = case(of.forget, of.holdout, side(of.retain.logits, of.retain.y, np.zeros(400, int)))

    assert len(conventions(alone)) == 13


def test_the_report_has_them_and_the_plan_can_leave_them_out():
    cases = Cases(n=100, m=300, r=300)
    plan = QUICK.model_copy(update={"rungs": (Population(),)})
    before, after = cases.model(2.0), cases.model()

    assert len(audit(before, after, cases.sets, plan).conventions) == 13
    assert audit(before, after, cases.sets, QUICK).conventions == ()
