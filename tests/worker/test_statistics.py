"""Statistics against scipy, brute force, simulation and the published tables."""

from itertools import combinations

import numpy as np
import pytest
from scipy.stats import bootstrap

from worker import statistics
from worker.metrics import WeightedAuc, auc
from worker.nulls import permutation_test
from worker.power import detectable_auc, equivalence_power, rows_for_equivalence
from worker.resampling import Bootstrap, Relabelling, halves, pool
from worker.statistics import bca, cluster_interval, influence, inside, matched_auc


def bootstrap_aucs(scores, of, draws, rng):
    attacks = [WeightedAuc(s[: of.forget], s[of.forget :]) for s in scores]
    return np.array(statistics.bootstrap(attacks, of, draws, rng))


def one_class(n, m):
    return pool((np.zeros(n, int), np.zeros(m, int)), (None, None))


def clustered(rng, n=120, m=400):
    y = rng.integers(0, 3, n), rng.integers(0, 3, m)
    return pool(y, (rng.integers(0, n // 2, n), rng.integers(0, m // 2, m)))


@pytest.mark.parametrize("seed", [1, 2])
def test_the_interval_is_scipys_bca(seed):
    rng = np.random.default_rng(seed)
    member, other = rng.exponential(1.6, 14), rng.exponential(1.0, 25)
    scores, of = np.concatenate([member, other]), one_class(14, 25)

    draws = bootstrap_aucs([scores], of, 20_000, rng)[0]
    ours = bca(draws, matched_auc(scores, of), influence(scores, of), 0.95)

    theirs = bootstrap((member, other), auc, n_resamples=20_000, method="BCa", vectorized=False, rng=rng)
    assert ours == pytest.approx(theirs.confidence_interval, abs=0.008)


def test_influences_are_the_bootstraps_spread_when_persons_have_several_rows_and_classes_are_unequal():
    rng = np.random.default_rng(3)
    of = clustered(rng)
    scores = rng.normal(size=520) + of.y + 0.5 * rng.normal(size=of.unit.max() + 1)[of.unit]

    draws = bootstrap_aucs([scores], of, 4_000, rng)[0]

    assert np.sqrt((influence(scores, of) ** 2).sum()) == pytest.approx(draws.std(), rel=0.05)


def test_a_bootstrap_weighs_every_row_of_a_person_alike():
    rng = np.random.default_rng(4)
    of = clustered(rng)

    weights, _ = Bootstrap(of).draw(rng, 50)

    first_row = np.array([np.flatnonzero(of.unit == u)[0] for u in of.unit[: of.forget]])
    assert (weights == weights[:, first_row]).all()
    assert (weights.sum(axis=1) > 0).all()


def test_a_bootstrap_balances_the_classes_in_every_draw():
    rng = np.random.default_rng(5)
    of = clustered(rng)
    y_f, y_h = of.y[: of.forget], of.y[of.forget :]

    w_f, w_h = Bootstrap(of).draw(rng, 200)

    for c in range(3):
        assert w_h[:, y_h == c].sum(axis=1) == pytest.approx(w_f[:, y_f == c].sum(axis=1), rel=1e-4)


def test_lone_rows_are_drawn_within_their_class():
    rng = np.random.default_rng(6)
    y_f = np.repeat([0, 1, 2], [5, 10, 20])
    of = pool((y_f, np.repeat([0, 1, 2], 30)), (None, None))

    w_f, _ = Bootstrap(of).draw(rng, 100)

    assert all((w_f[:, y_f == c].sum(axis=1) == n).all() for c, n in ((0, 5), (1, 10), (2, 20)))


def test_differences_of_two_models_are_paired_on_the_same_rows():
    rng = np.random.default_rng(7)
    scores, of = rng.normal(size=300), one_class(100, 200)

    draws = bootstrap_aucs([scores, scores * 2], of, 500, rng)

    assert (draws[0] == draws[1]).all()


def test_permutations_swap_only_persons_with_the_same_labels():
    rng = np.random.default_rng(8)
    of = clustered(rng)

    masks = Relabelling(of).draw(rng, 40)

    assert len(np.unique(masks, axis=0)) == 40
    for drawn in map(np.flatnonzero, masks):
        whole = np.isin(of.unit, of.unit[drawn])
        assert len(set(drawn)) == of.forget == whole.sum()
        assert sorted(of.y[drawn]) == sorted(of.y[: of.forget])


def test_the_permutation_p_value_is_the_share_of_all_relabellings():
    rng = np.random.default_rng(9)
    y = np.array([0, 0, 1, 0, 0, 0, 1, 1, 1])
    of = pool((y[:3], y[3:]), (None, None))
    scores = np.array([5, 7, 4, 1, 2, 6, 0, 4, 9.0])

    result = permutation_test(scores[None], of, 20_000, rng)

    sides = [[*pair, lone] for pair in combinations(np.flatnonzero(y == 0), 2) for lone in np.flatnonzero(y == 1)]
    rest = [np.setdiff1d(np.arange(9), side) for side in sides]
    drawn = [auc(scores[s], scores[r], of.balance[r]) for s, r in zip(sides, rest, strict=True)]
    share = np.mean([abs(a - 0.5) >= abs(matched_auc(scores, of) - 0.5) - 1e-9 for a in drawn])
    assert result.p[0] == pytest.approx(share, abs=0.01)


def test_the_largest_of_several_signals_pays_for_the_choice():
    rng = np.random.default_rng(10)
    scores, of = rng.normal(size=(4, 200)), one_class(50, 150)

    result = permutation_test(scores, of, 999, rng)

    assert (result.adjusted >= result.p).all()
    assert result.p_max == result.adjusted.min()
    assert result.statistic == pytest.approx(max(abs(matched_auc(s, of) - 0.5) for s in scores))


def test_copies_of_a_signal_cost_nothing():
    rng = np.random.default_rng(11)
    score, of = rng.normal(size=200), one_class(50, 150)

    result = permutation_test(np.stack([score, score]), of, 999, rng)

    assert (result.adjusted == result.p).all()


def test_a_shift_of_both_sides_of_a_class_is_no_leak():
    rng = np.random.default_rng(12)
    y_f, y_h = np.repeat([0, 1], [90, 10]), np.repeat([0, 1], [100, 900])
    of = pool((y_f, y_h), (None, None))
    scores = rng.normal(size=1100) + 5 * of.y

    result = permutation_test(scores[None], of, 999, rng)

    assert result.p[0] > 0.01
    assert matched_auc(scores, of) == pytest.approx(0.5, abs=0.05)


def test_the_holdout_is_dealt_into_equal_halves_by_person():
    rng = np.random.default_rng(13)
    of = clustered(rng)

    dealt = halves(of, rng)

    assert dealt is not None
    null, index = dealt
    a, b = of.unit[index[: null.forget]], of.unit[index[null.forget :]]
    assert not set(a) & set(b)
    assert len(a) == len(b)
    assert (index >= of.forget).all()
    assert null.balance == pytest.approx(1)


@pytest.mark.parametrize(
    ("n", "auc_80"), [(10, 0.756), (50, 0.615), (100, 0.581), (200, 0.558), (500, 0.537), (1000, 0.527), (5000, 0.514)]
)
def test_the_detectable_auc_agrees_with_the_simulated_table(n, auc_80):
    assert detectable_auc(n, 10_000, alpha=0.05, power=0.8) == pytest.approx(auc_80, abs=0.0025)


def test_nothing_is_detectable_with_one_row_at_a_strict_level():
    assert detectable_auc(1, 10_000, alpha=0.001, power=0.8) == 1


@pytest.mark.parametrize(("margin", "fixed", "estimated"), [(0.10, 143, 286), (0.05, 571, 1142), (0.02, 3569, 7138)])
def test_the_rows_for_equivalence_are_those_of_the_table(margin, fixed, estimated):
    assert rows_for_equivalence(margin, 0.8) == pytest.approx(fixed, abs=1)
    assert rows_for_equivalence(margin, 0.8, variances=2) == pytest.approx(estimated, abs=1)


def test_the_rows_for_equivalence_have_the_asked_power():
    n = rows_for_equivalence(0.05, 0.8)

    assert equivalence_power(0.05, (2 / (12 * n)) ** 0.5) == pytest.approx(0.8, abs=0.002)


def test_an_interval_that_touches_the_margin_is_not_inside():
    assert inside((-0.049, 0.049), 0.05)
    assert not inside((-0.05, 0.01), 0.05)
    assert not inside((0.01, 0.05), 0.05)


def test_an_interval_of_persons_is_wider_than_one_of_rows_when_a_persons_rows_agree():
    values = np.repeat([1.0, 0, 1, 1, 0, 1, 0, 1], 10)

    by_row, by_person = cluster_interval(values, None, 0.95), cluster_interval(values, np.arange(80) // 10, 0.95)

    assert by_person[0] < by_row[0] < values.mean() < by_row[1] < by_person[1]


def test_a_single_person_has_no_interval():
    assert cluster_interval(np.ones(5), np.zeros(5, int), 0.95) == (-np.inf, np.inf)


def test_intervals_cover_the_truth_when_rows_belong_to_persons():
    rng = np.random.default_rng(14)
    groups = np.arange(160) // 4
    of = pool((np.zeros(160, int), np.zeros(400, int)), (groups, None))
    covered = 0

    for _ in range(150):
        scores = np.concatenate([np.sqrt(0.5) * rng.normal(size=40)[groups], np.zeros(400)])
        scores += rng.normal(size=560) * np.sqrt(np.repeat([0.5, 1.0], [160, 400]))
        draws = bootstrap_aucs([scores], of, 400, rng)[0]
        low, high = bca(draws, matched_auc(scores, of), influence(scores, of), 0.95)
        covered += low <= 0.5 <= high

    assert covered >= 132    # 95 % of 150 is 142; below 132 with probability under 1e-3
