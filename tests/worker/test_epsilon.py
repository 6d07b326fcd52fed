"""Bounds on ε beside a slow second implementation, the published ceilings, and what they claim where ε is 0."""

from math import comb, exp, log

import numpy as np
import pytest

from service.errors import BadInput
from worker.epsilon import bound, clopper_pearson, correct, one_run, p_value, split_half


def binomial(n, k, q):
    return comb(n, k) * q**k * (1 - q) ** (n - k)


def slow_p(epsilon, m, r, v, delta):
    """The formula, term by term."""
    q = exp(epsilon) / (1 + exp(epsilon))
    tail = sum(binomial(r, k, q) for k in range(v, r + 1))
    shares = [sum(binomial(r, k, q) for k in range(max(0, v - i), v)) / i for i in range(1, m + 1)]
    return min(1.0, tail + 2 * m * delta * max(shares))


def slow_upper(k, n, alpha):
    """The rate at which k or fewer have the chance alpha, by halving."""
    low, high = 0.0, 1.0
    for _ in range(60):
        mid = (low + high) / 2
        low, high = (mid, high) if sum(binomial(n, j, mid) for j in range(k + 1)) > alpha else (low, mid)
    return high


@pytest.mark.parametrize("delta", [0.0, 1e-5, 1e-3])
@pytest.mark.parametrize(("m", "r", "v"), [(100, 20, 18), (100, 50, 30), (40, 40, 40), (60, 10, 0)])
def test_the_p_value_of_one_run_is_the_formula(m, r, v, delta):
    for epsilon in (0.0, 0.5, 2.0):
        assert p_value(epsilon, m, r, v, delta) == pytest.approx(slow_p(epsilon, m, r, v, delta), rel=1e-9)


@pytest.mark.parametrize(("r", "ceiling"), [(50, 2.78), (100, 3.49), (500, 5.11), (1000, 5.81)])
def test_one_run_has_the_published_ceilings(r, ceiling):
    found = bound(r, r, r, alpha=0.05)

    assert found.value == found.ceiling == pytest.approx(ceiling, abs=0.005)


@pytest.mark.parametrize(("n", "ceiling"), [(64, 2.82), (128, 3.53), (256, 4.23), (512, 4.93), (1024, 5.62)])
def test_clopper_pearson_has_the_published_ceilings(n, ceiling):
    assert clopper_pearson(0, n, 0, n, alpha=0.05) == pytest.approx(ceiling, abs=0.005)


@pytest.mark.parametrize(("fp", "n_out", "fn", "n_in"), [(1, 30, 4, 25), (0, 20, 19, 20), (9, 30, 7, 30), (9, 9, 0, 9)])
def test_clopper_pearson_is_the_slow_way(fp, n_out, fn, n_in):
    a, b = slow_upper(fp, n_out, 0.025), slow_upper(fn, n_in, 0.025)
    bounds = [log((1 - 0.01 - x) / y) for x, y in ((a, b), (b, a)) if 1 - 0.01 - x > 0]

    found = clopper_pearson(fp, n_out, fn, n_in, alpha=0.05, delta=0.01)

    assert found == pytest.approx(max(0.0, *bounds), abs=1e-6)


def test_the_bound_of_one_run_is_where_the_p_value_is_alpha():
    found = bound(1_000, 100, 90, alpha=0.05, delta=1e-5)

    assert slow_p(found.value, 1_000, 100, 90, 1e-5) == pytest.approx(0.05, abs=1e-5)


def test_one_run_claims_something_of_nothing_in_no_more_runs_than_alpha():
    rng = np.random.default_rng(0)
    claims = [
        one_run(rng.normal(size=200), rng.random(200) < 0.5, 60, alpha=0.05).value > 0 for _ in range(1_000)
    ]

    assert 0 < sum(claims) <= 70


def test_one_run_holds_where_canaries_share_a_fate():
    """Half of the pipelines tell each coin with odds e^1, the others nothing: pooled trials would be overconfident."""
    rng = np.random.default_rng(0)
    above = 0
    for _ in range(1_000):
        coins = rng.random(100) < 0.5
        told = np.where(rng.random(100) < exp(1) / (1 + exp(1)), coins, ~coins)
        scores = (told if rng.random() < 0.5 else rng.random(100) < 0.5) + 0.01 * rng.random(100)
        above += one_run(scores, coins, 100, alpha=0.05).value > 1

    assert above <= 70


def test_split_halves_claim_something_of_nothing_in_no_more_runs_than_alpha():
    rng = np.random.default_rng(0)
    claims = [
        split_half(
            (rng.normal(size=50), rng.normal(size=50)), (rng.normal(size=50), rng.normal(size=50)), alpha=0.05
        ).value > 0
        for _ in range(1_000)
    ]

    assert sum(claims) <= 70


def test_the_same_half_for_choice_and_test_would_claim_too_much():
    rng = np.random.default_rng(0)
    claims = []
    for _ in range(1_000):
        half = rng.normal(size=100), rng.normal(size=100)
        claims.append(split_half(half, half, alpha=0.05).value > 0)

    assert sum(claims) > 70


@pytest.mark.parametrize("sign", [1, -1])
def test_a_split_half_finds_members_above_and_below(sign):
    rng = np.random.default_rng(1)
    halves = [(sign * (rng.normal(size=64) + 8), sign * rng.normal(size=64)) for _ in range(2)]

    found = split_half(halves[0], halves[1], alpha=0.05)

    assert found.value == found.ceiling == pytest.approx(2.82, abs=0.005)
    assert (found.n_guesses, found.n_correct) == (128, 128)


def test_guesses_are_the_ends_of_the_scores():
    scores, included = np.array([5.0, 1, 4, 2, 3, 0]), np.array([True, False, False, True, True, False])

    assert correct(scores, included, 2) == 2       # 5 is in, 0 is out
    assert correct(scores, included, 4) == 3       # 4 is not in
    assert correct(scores, included, 6) == 4


def test_delta_costs():
    assert bound(1_000, 100, 90, alpha=0.05, delta=1e-4).value < bound(1_000, 100, 90, alpha=0.05).value


def test_guesses_that_cannot_be_made_are_refused():
    with pytest.raises(BadInput, match="two at least"):
        one_run(np.zeros(10), np.zeros(10, bool), 1, alpha=0.05)
    with pytest.raises(BadInput, match="both halves"):
        split_half((np.zeros(0), np.ones(3)), (np.zeros(2), np.ones(3)), alpha=0.05)
