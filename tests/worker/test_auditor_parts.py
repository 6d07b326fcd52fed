"""Rates at a threshold, parts of the forget set, single persons and the next rung, against second implementations."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binomtest

from service.domain.policy import REFERENCES, AuditPlan
from service.domain.recipes import Population, Reference
from service.domain.report import Power, References
from tests.worker.audit_cases import QUICK, Cases
from worker.auditing import audit
from worker.comparison import Comparison
from worker.next_rung import next_rung
from worker.nulls import permutation_test, sign_flip_test
from worker.operating import Rates, balanced_accuracy, clopper_pearson, tpr_at
from worker.persons import conformal, holm, persons
from worker.power import alarm_power, detectable_auc, planned, power_curve, units_needed
from worker.resampling import pool
from worker.statistics import matched_auc

values = st.lists(st.integers(-3, 3), min_size=1, max_size=7)       # a small range, so ties happen
NONE, FOUR = References(k=0, kind="assumed_iid"), References(k=4, kind="retrained")


def naive_tpr(member, other, w_f, w_h, fpr):
    """Of all thresholds that let no more than this share of the others pass, the one that catches most."""
    caught = [
        (w_f * (member > t)).sum() / w_f.sum()
        for t in [*other, -np.inf]
        if (w_h * (other > t)).sum() <= fpr * w_h.sum() + 1e-9
    ]
    return max(caught)


def one_class(n, m, groups=(None, None)):
    return pool((np.zeros(n, int), np.zeros(m, int)), groups)


@given(member=values, other=values, seed=st.integers(0, 99), fpr=st.sampled_from([0.0, 0.1, 0.3, 0.5, 1.0]))
def test_a_rate_is_that_of_the_lowest_threshold_that_is_strict_enough(member, other, seed, fpr):
    rng = np.random.default_rng(seed)
    member, other = np.array(member, float), np.array(other, float)
    w_f, w_h = rng.integers(1, 4, len(member)), rng.integers(1, 4, len(other))

    found = Rates(member, other, np.array([fpr]))(w_f[None].astype(float), w_h[None].astype(float))

    assert found[0, 0] == pytest.approx(naive_tpr(member, other, w_f, w_h, fpr))


@pytest.mark.parametrize(("m", "estimable"), [(999, (False, False)), (1_000, (True, False)), (10_000, (True, True))])
def test_a_low_false_positive_rate_needs_ten_held_out_rows_above_the_threshold(m, estimable):
    rng = np.random.default_rng(0)

    found = tpr_at(rng.normal(size=200 + m), one_class(200, m))

    assert tuple(at.estimable for at in found) == estimable
    assert all((at.value is None) == (not at.estimable) for at in found)
    assert all(at.n_false_positives == m * at.fpr for at in found if at.estimable)


def test_a_persons_rows_do_not_make_a_low_rate_estimable_or_its_interval_narrow():
    rng = np.random.default_rng(1)
    groups = np.arange(200) // 20, np.arange(2_000) // 4
    rows, persons = (tpr_at(rng.normal(size=2_200), one_class(200, 2_000, g)) for g in ((None, None), groups))
    alone = tpr_at(rng.normal(size=2_200), one_class(200, 2_000, (groups[0], None)))

    assert rows[0].estimable
    assert not persons[0].estimable
    assert np.ptp(alone[0].ci95) > 3 * np.ptp(rows[0].ci95)


def test_a_signal_of_few_values_has_no_low_rate():
    found = tpr_at(np.tile([0.0, 1.0], 10_000), one_class(5_000, 15_000))

    assert not found[0].estimable
    assert found[0].n_false_positives == 0


@pytest.mark.parametrize(("k", "n"), [(0, 100), (3, 100), (100, 100), (1, 1_000)])
def test_clopper_pearson_is_scipys(k, n):
    expected = binomtest(k, n).proportion_ci(0.95, method="exact")

    assert clopper_pearson(k, n, 0.95) == pytest.approx((expected.low, expected.high))


def test_the_published_bounds_of_no_hit_and_of_one_hold():
    assert clopper_pearson(0, 100, 0.90)[1] == pytest.approx(0.0295, abs=1e-4)
    assert clopper_pearson(1, 1_000, 0.90)[1] == pytest.approx(0.0047, abs=1e-4)


def test_balanced_accuracy_is_a_half_at_the_null_and_not_inflated_by_the_choice_of_threshold():
    rng = np.random.default_rng(2)

    found = [balanced_accuracy(rng.normal(size=120), one_class(40, 80), rng) for _ in range(300)]

    assert np.mean(found) == pytest.approx(0.5, abs=0.012)


@pytest.mark.parametrize("sign", [1, -1])
def test_balanced_accuracy_sees_both_directions(sign):
    scores = sign * np.concatenate([np.full(40, 2.0), np.zeros(80)]) + 0.1 * np.random.default_rng(3).normal(size=120)

    assert balanced_accuracy(scores, one_class(40, 80), np.random.default_rng(0)) == 1


def test_one_unit_has_no_half_to_learn_from():
    assert balanced_accuracy(np.zeros(81), one_class(1, 80), np.random.default_rng(0)) is None


def test_sign_flips_are_those_of_a_loop():
    rng = np.random.default_rng(4)
    moves = rng.normal(size=(2, 12)) * 0.05
    strata, gaps = np.repeat([0, 1], 6), np.array([0.2, -0.35])
    moves -= np.stack([np.repeat(m.reshape(2, 6).mean(axis=1), 6) for m in moves])
    grown = moves * (6 / 5) ** 0.5

    found = sign_flip_test(gaps, moves, strata, 20_000, rng)

    signs = np.array([[1 if bit >> i & 1 else -1 for i in range(12)] for bit in range(2**12)])
    sums = np.abs(np.array([[float(s @ m) for m in grown] for s in signs]))
    spread = np.array([float(m @ m) ** 0.5 for m in grown])
    t = np.abs(gaps) / spread
    assert found.p == pytest.approx((sums / spread >= t - 1e-12).mean(axis=0), abs=0.01)
    assert found.adjusted == pytest.approx([((sums / spread).max(axis=1) >= x).mean() for x in t], abs=0.01)
    assert found.statistic == pytest.approx(0.35)


def test_a_signal_that_says_the_same_of_both_models_is_no_evidence():
    found = sign_flip_test(np.zeros(1), np.zeros((1, 30)), np.repeat([0, 1], 15), 99, np.random.default_rng(0))

    assert found.p_max == 1


def test_weights_and_ties_are_in_the_permuted_auc():
    rng = np.random.default_rng(5)
    of = pool((np.repeat([0, 1], [12, 3]), np.repeat([0, 1], [20, 40])), (None, None))
    scores = rng.integers(0, 4, 75).astype(float)

    found = permutation_test(scores[None], of, 99, rng).statistic

    assert found == pytest.approx(abs(matched_auc(scores, of) - 0.5))


def test_a_persons_p_is_twice_the_smaller_share():
    held_out = np.array([1.0, 2, 2, 3, 4, 5, 6, 7, 8])

    assert conformal(np.array([9.0, 0, 2, 7.5]), held_out) == pytest.approx([0.2, 0.2, 0.8, 0.4])


def test_a_persons_p_is_uniform_where_persons_are_alike():
    rng = np.random.default_rng(6)

    p = np.array([conformal(rng.normal(size=1), rng.normal(size=199))[0] for _ in range(2_000)])

    assert (p <= 0.05).mean() == pytest.approx(0.05, abs=0.016)
    assert (p <= 0.5).mean() == pytest.approx(0.5, abs=0.036)


@given(p=st.lists(st.floats(0.0001, 1), min_size=1, max_size=8))
def test_holm_rejects_one_after_the_other(p):
    adjusted, ordered = holm(np.array(p)), sorted(p)

    for level in (0.01, 0.05, 0.3):
        rejected = 0
        while rejected < len(p) and ordered[rejected] <= level / (len(p) - rejected):
            rejected += 1
        assert (adjusted <= level * (1 + 1e-12)).sum() == pytest.approx(rejected, abs=0)


def test_a_person_whose_rows_are_remembered_stands_out_and_has_no_name():
    groups = np.concatenate([np.arange(60) // 3, 1_000 + np.arange(3_000) // 3, 9_000 + np.arange(50)])
    cases = Cases(n=60, m=3_000, r=50, groups=groups)
    after = cases.model()
    after.logits.data[:3] = cases.model(8.0).logits.data[:3]

    found = audit(cases.model(2.0), after, cases.sets, QUICK).persons

    assert found.n_tested == 20
    assert found.n_significant_holm == 1
    assert found.smallest_possible_p == pytest.approx(2 / 1_001, abs=1e-6)
    first, second, *_ = found.shown
    assert (first.rank, first.n_rows) == (1, 3)
    assert first.p_holm < 0.05 < second.p_holm
    assert len(found.shown) == 20


def test_a_single_persons_p_is_in_the_report():
    groups = np.concatenate([np.zeros(4), 10 + np.arange(400) // 4, 900 + np.arange(50)]).astype(int)
    cases = Cases(n=4, m=400, r=50, groups=groups)

    report = audit(cases.model(9.0), cases.model(9.0), cases.sets, QUICK)

    assert report.verdict.value == "INCONCLUSIVE"
    assert report.verdict.next_rung.name == "ulira"
    assert report.persons.n_tested == 1
    assert report.persons.shown[0].p_after < 0.05
    assert report.roc is None
    assert report.strata == ()


def test_persons_are_compared_with_their_like_where_there_are_enough():
    sizes = np.concatenate([[3, 2, 1], np.full(200, 3), np.full(25, 2), np.ones(50, int)])
    cases = Cases(n=6, m=650, r=50, groups=np.repeat(np.arange(len(sizes)), sizes))
    for rows in (cases.sets.forget, cases.sets.holdout, cases.sets.retain):
        rows.y.fill_(1)

    shown = audit(cases.model(2.0), cases.model(), cases.sets, QUICK).persons.shown

    how = {p.n_rows: p.compared_with for p in shown}
    assert how == {3: "same_labels", 2: "same_number_of_rows", 1: "all"}


def test_a_person_of_a_hard_class_does_not_stand_out_for_that():
    """All the others are of the easy class, and so are most held-out rows."""
    y, rng = np.where(np.arange(1_020) % 400, 0, 1), np.random.default_rng(7)
    of = pool((y[:20], y[20:]), (None, None))
    scores = rng.normal(size=(2, 1, 1_020)) - 6 * y

    found = persons(Comparison(QUICK.model_copy(update={"signals": ("loss",)}), of, scores))

    assert found.n_tested == 20
    assert min(person.p_after for person in found.shown) > 0.01


def test_strata_are_classes_with_enough_rows_and_the_rows_that_the_original_knew_best():
    cases = Cases(n=300, m=900, r=100)

    report = audit(cases.model(2.0), cases.model(1.0), cases.sets, QUICK, references=[cases.model(), cases.model()])

    names = {stratum.name: stratum for stratum in report.strata}
    y = cases.sets.forget.y
    assert set(names) == {"class:0", "class:1", "memorised:top_decile"}
    assert names["class:1"].n_member == int((y == 1).sum())
    assert names["memorised:top_decile"].n_member == pytest.approx(30, abs=1)
    assert names["class:0"].auc_ci95[0] < names["class:0"].auc < names["class:0"].auc_ci95[1]
    assert names["class:0"].auc > 0.6 > names["class:0"].auc_reference


def test_the_best_known_rows_of_a_model_that_never_saw_them_are_like_their_like():
    """Chosen easy rows beside all held-out rows would look known."""
    cases = Cases(n=1_000, m=2_000, r=100)

    report = audit(cases.model(), cases.model(), cases.sets, QUICK)

    top = next(s for s in report.strata if s.name == "memorised:top_decile")
    assert top.auc_ci95[0] <= 0.5 <= top.auc_ci95[1]


def test_the_curve_lies_in_its_band_and_ends_at_one():
    cases = Cases(n=300, m=1_000, r=100)

    roc = audit(cases.model(2.0), cases.model(0.5), cases.sets, QUICK, references=[cases.model()]).roc

    assert roc.signal == "loss"
    assert (roc.fpr[0], roc.fpr[-1], len(roc.fpr)) == (0.001, 1, 25)
    assert roc.tpr_after[-1] == roc.tpr_before[-1] == roc.tpr_reference[-1] == 1
    assert list(roc.tpr_after) == sorted(roc.tpr_after)
    inside = [low <= tpr <= high for tpr, (low, high) in zip(roc.tpr_after, roc.band_after, strict=True)]
    assert sum(inside) >= 23
    assert sum(roc.tpr_before) > sum(roc.tpr_after) > sum(roc.tpr_reference)


def test_the_power_curve_passes_through_the_planned_point_and_starts_at_the_level():
    auc = detectable_auc(200, 1_000, alpha=0.001, power=0.8)

    assert alarm_power(auc, 200, 1_000, alpha=0.001) == pytest.approx(0.8, abs=1e-3)
    assert alarm_power(0.5, 200, 1_000, alpha=0.001) == pytest.approx(0.001, abs=2e-4)
    curve = power_curve(200, 1_000, alpha=0.001, power=0.8)
    assert len(curve) == 25
    assert [p for _, p in curve] == sorted(p for _, p in curve)


@pytest.mark.parametrize("k", [0, 4])
def test_the_needed_units_are_the_fewest_that_have_the_power(k):
    n = units_needed(0.05, 0.8, 5_000, k=k)

    assert planned(0.05, n, 5_000, k=k) >= 0.799
    assert planned(0.05, 0.97 * n, 5_000, k=k) < 0.8


def power(n, m=10_000):
    return Power(
        alpha=0.001,
        forget_units=n,
        holdout_units=m,
        min_detectable_auc=0.6,
        planned_power_at_margin=0.1,
        forget_units_needed=None,
    )


def test_what_comes_next_is_the_cheapest_thing_that_would_decide():
    beside = AuditPlan(rungs=(Population(), Reference()))

    blind = next_rung("no_power", QUICK, power(500), NONE)
    blind_beside = next_rung("no_power", beside, power(500), FOUR)
    paired = next_rung("underpowered", QUICK, power(500), NONE)
    few = next_rung("underpowered", QUICK, power(100), NONE)
    lone = next_rung("no_power", beside, power(1), FOUR)

    assert (blind.name, blind.trainings) == ("reference", REFERENCES)
    assert (blind_beside.name, blind_beside.trainings) == ("ulira", 64)
    assert (paired.name, paired.trainings) == ("reference", REFERENCES)
    assert (few.name, few.trainings) == ("population", 0)
    assert planned(0.05, few.forget_units, 10_000, k=0) >= 0.799
    assert lone.name == "ulira"
    assert next_rung("leak", QUICK, power(500), NONE) is None
    assert next_rung("within_margin", QUICK, power(500), NONE) is None
