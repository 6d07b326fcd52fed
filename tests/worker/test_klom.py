"""KLoM against a loop, and its bias against what simulation says."""

from math import log

import numpy as np
import pytest

from service.errors import BadInput
from worker.klom import binned, divergences, klom


def normal(models, rows, seed, shift=0.0):
    return np.random.default_rng(seed).normal(shift, 1, (models, rows))


def rng():
    return np.random.default_rng(0)


def naive(unlearned, oracle):
    """One row: edges, counts and the sum, all by loop."""
    both = [*unlearned, *oracle]
    low, width = min(both), (max(both) - min(both)) / 20
    counts = [[0] * 20, [0] * 20]
    for side, values in enumerate((oracle, unlearned)):
        for v in values:
            counts[side][min(int((v - low) / width), 19)] += 1
    total = 0.0
    for c_p, c_q in zip(*counts, strict=True):
        p, q = c_p / len(oracle), max(c_q / len(unlearned), 1e-5)
        total += p * log(p / q) if p else 0
    return total


def test_divergences_are_those_of_the_loop():
    u, o = normal(30, 12, 1, 0.5), normal(45, 12, 2)
    cells = binned(np.concatenate([u, o]))

    found = divergences(cells[30:], cells[:30])

    assert found == pytest.approx([naive(u[:, i], o[:, i]) for i in range(12)])
    assert klom(u, o, rng()).mean == pytest.approx(found.mean(), abs=1e-6)


def test_by_hand():
    """All unlearned models in the first bin; oracles half in the first and half in the last."""
    u, o = np.zeros((4, 1)), np.array([[0.0], [0.0], [1.0], [1.0]])

    assert klom(u, o, rng()).mean == pytest.approx(0.5 * log(0.5) + 0.5 * log(0.5 / 1e-5), abs=1e-5)


def test_the_largest_margin_is_in_the_last_bin():
    assert binned(np.array([[0.0], [0.5], [1.0]])).ravel().tolist() == [0, 10, 19]


@pytest.mark.parametrize(("models", "mean", "p95", "within"), [(50, 0.85, 1.73, 0.1), (100, 0.336, 0.65, 0.05),
                                                               (200, 0.14, 0.26, 0.05), (1_000, 0.023, 0.041, 0.01)])
def test_the_bias_at_the_null_is_that_of_the_simulation_and_is_taken_away(models, mean, p95, within):
    found = klom(normal(models, 600, 3), normal(models, 600, 4), rng())

    assert found.mean == pytest.approx(mean, abs=within)
    assert found.null_mean == pytest.approx(mean, abs=within)
    assert found.p95 == pytest.approx(p95, abs=3 * within)
    assert abs(found.excess) < 0.03 * max(1, 1.5 * mean)


@pytest.mark.parametrize(("shift", "at_least"), [(1.0, 0.6), (2.0, 2.0)])
def test_a_shift_is_seen(shift, at_least):
    found = klom(normal(100, 300, 5, shift), normal(100, 300, 6), rng())

    assert found.excess > at_least
    assert found.mean > found.null_p95


def test_the_direction_is_oracle_from_unlearned():
    """Models collapsed to a tenth of the spread: dear in this direction, cheap in the other."""
    spread, collapsed = normal(100, 200, 7), 0.1 * normal(100, 200, 8)

    assert klom(collapsed, spread, rng()).mean > 2 * klom(spread, collapsed, rng()).mean


def test_one_value_for_all_models_is_no_distance():
    assert klom(np.full((5, 3), 2.0), np.full((7, 3), 2.0), rng()).mean == 0


def test_margins_without_bounds_are_clipped():
    u, o = normal(20, 5, 9), normal(20, 5, 10)
    o[0] = 1e9
    far = klom(u, o, rng())
    o[0] = 100

    assert far == klom(u, o, rng())


def test_the_same_seed_gives_the_same_value_and_the_arguments_stay():
    u, o = normal(20, 5, 11), normal(20, 5, 12)
    before = u.copy(), o.copy()

    assert klom(u, o, rng()) == klom(u, o, rng())
    assert (u == before[0]).all()
    assert (o == before[1]).all()


@pytest.mark.parametrize(("u", "o", "says"), [
    (np.zeros((1, 4)), np.zeros((5, 4)), "at least 2 models"),
    (np.zeros((5, 4)), np.zeros((5, 3)), "the same rows"),
    (np.zeros((5, 0)), np.zeros((5, 0)), "the same rows"),
    (np.zeros((5, 4)), np.full((5, 4), np.nan), "NaN"),
])
def test_what_cannot_be_compared_is_refused(u, o, says):
    with pytest.raises(BadInput, match=says):
        klom(u, o, rng())
