"""Accuracy, its intervals and the guard."""

import numpy as np
import pytest
from scipy.stats import binomtest

from worker.utility import accuracy, share_interval, utility


def rows(*shares, n=1_000):
    return [(np.arange(n) < share * n).astype(float) for share in shares]


@pytest.mark.parametrize(("k", "n"), [(0, 5), (5, 5), (1, 1), (37, 90)])
def test_the_interval_of_lone_rows_is_wilsons(k, n):
    right = (np.arange(n) < k).astype(float)

    expected = binomtest(k, n).proportion_ci(0.95, method="wilson")

    assert share_interval(right, None, 0.95) == pytest.approx((expected.low, expected.high), abs=1e-9)


def test_rows_of_one_person_that_agree_count_once():
    right, groups = np.repeat([1.0, 0, 1, 1, 0, 1], 20), np.arange(120) // 20

    by_person = share_interval(right, groups, 0.95)

    expected = binomtest(4, 6).proportion_ci(0.95, method="wilson")
    assert by_person == pytest.approx((expected.low, expected.high), abs=1e-9)


def test_the_gap_is_to_the_references_mean_where_there_are_any():
    before, after, one, two = rows(0.9, 0.8, 0.84, 0.86)

    alone, beside = accuracy((before, after, []), None), accuracy((before, after, [one, two]), None)

    assert alone.gap == pytest.approx(-0.1)
    assert beside.gap == pytest.approx(-0.05)
    assert beside.reference == pytest.approx(0.85)


def test_the_gap_of_models_that_agree_on_most_rows_is_narrow():
    before, after = rows(0.5, 0.49)

    gap = accuracy((before, after, []), None).gap_ci90

    half = 1.645 * (0.01 * 0.99 / 1_000) ** 0.5
    assert gap == pytest.approx((-0.01 - half, -0.01 + half), abs=1e-4)


@pytest.mark.parametrize(
    ("retain", "holdout", "guard", "within"),
    [
        (0.9, 0.8, "pass", True), (0.88, 0.8, "pass", True), (0.86, 0.8, "fail", False), (0.9, 0.78, "fail", False),
        (0.95, 0.9, "pass", True),
    ],
)
def test_only_a_drop_beyond_the_margin_breaks_the_guard(retain, holdout, guard, within):
    on_retain, on_holdout, on_forget = (
        accuracy((before, after, []), None)
        for before, after in (rows(0.9, retain), rows(0.8, holdout), rows(0.9, 0.2))
    )

    result = utility(on_retain, on_forget, on_holdout, margin=0.015, retain_margin=0.03, k=0)

    assert (result.guard, result.within_margin) == (guard, within)


def test_a_drop_that_may_or_may_not_be_too_large_passes_the_guard_but_shows_nothing():
    on_retain, on_holdout = (accuracy((*rows(0.80, after, n=200), []), None) for after in (0.80, 0.79))

    result = utility(on_retain, on_retain, on_holdout, margin=0.015, retain_margin=0.03, k=0)

    assert (result.guard, result.within_margin) == ("pass", False)


def test_without_held_out_rows_usefulness_is_not_shown():
    on_retain = accuracy((*rows(0.8, 0.8), []), None)

    assert not utility(on_retain, on_retain, None, margin=0.015, retain_margin=0.03, k=0).within_margin
