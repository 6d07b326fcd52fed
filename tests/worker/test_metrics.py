"""Metrics against brute force and scipy."""

from statistics import mean

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import ks_2samp

from worker.metrics import WeightedAuc, accuracy, auc, ks

few = st.lists(st.integers(-3, 3), min_size=1, max_size=6)      # a small range, so ties happen
counts = st.lists(st.integers(0, 3), min_size=6, max_size=6)


@given(member=few, other=few)
def test_auc_is_the_share_of_pairs_ranked_right(member, other):
    pairs = [(m > o) + 0.5 * (m == o) for m in member for o in other]

    assert auc(member, other) == pytest.approx(mean(pairs))


@given(member=few, other=few, w_m=counts, w_o=counts)
def test_a_weighting_repeats_rows(member, other, w_m, w_o):
    w_m, w_o = np.array(w_m[: len(member)]), np.array(w_o[: len(other)])
    w_m[0], w_o[0] = w_m[0] + 1, w_o[0] + 1

    weighted = WeightedAuc(member, other)(w_m[None].astype(float), w_o[None].astype(float))

    assert weighted[0] == pytest.approx(auc(np.repeat(member, w_m), np.repeat(other, w_o)))


@given(member=few, other=few, w=counts)
def test_auc_weighs_the_others(member, other, w):
    w = np.array(w[: len(other)]) + 1

    assert auc(member, other, w) == pytest.approx(auc(member, np.repeat(other, w)))


@given(a=st.lists(st.integers(-3, 3), min_size=2, max_size=6), b=few)
def test_ks_is_scipys(a, b):
    assert ks(a, b) == pytest.approx(ks_2samp(a, b, method="asymp").statistic)


def test_accuracy_is_the_share_of_right_rows():
    assert accuracy([[2.0, 1], [0, 3], [5, 4], [0, 1]], [0, 1, 1, 0]) == 0.5
