"""Signals against scalar references and limits."""

from math import exp, log

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.stats import entropy as scipy_entropy

from service.errors import BadInput
from worker.signals import SIGNALS, confidence, entropy, loss, modified_entropy, scores

logit_rows = arrays(np.float64, (4, 3), elements=st.floats(-8, 8, width=32))
labels = np.array([0, 1, 2, 1])


def scalar_probabilities(row):
    powers = [exp(z) for z in row]
    return [p / sum(powers) for p in powers]


@given(logits=logit_rows)
def test_modified_entropy_is_the_published_sum(logits):
    expected = []
    for row, y in zip(logits, labels, strict=True):
        p = scalar_probabilities(row)
        expected.append(-(1 - p[y]) * log(p[y]) - sum(p[i] * log(1 - p[i]) for i in range(3) if i != y))

    assert modified_entropy(logits, labels) == pytest.approx(expected, rel=1e-6, abs=1e-9)


@given(logits=logit_rows)
def test_confidence_is_the_log_odds_of_the_true_class(logits):
    p = np.array([scalar_probabilities(row)[y] for row, y in zip(logits, labels, strict=True)])

    assert confidence(logits, labels) == pytest.approx(np.log(p / (1 - p)), rel=1e-6, abs=1e-6)


@given(logits=logit_rows)
def test_loss_is_torch_cross_entropy(logits):
    expected = torch.nn.functional.cross_entropy(torch.tensor(logits), torch.tensor(labels), reduction="none")

    assert loss(logits, labels) == pytest.approx(expected.numpy(), abs=1e-10)


@given(logits=logit_rows)
def test_entropy_is_scipys(logits):
    probabilities = np.array([scalar_probabilities(row) for row in logits])

    assert entropy(logits, labels) == pytest.approx(scipy_entropy(probabilities, axis=1), abs=1e-9)


def test_modified_entropy_changes_when_labels_are_permuted():
    logits = np.random.default_rng(0).normal(size=(50, 4)) * 3
    y = logits.argmax(axis=1)

    assert not np.allclose(modified_entropy(logits, y), modified_entropy(logits, (y + 1) % 4))


def test_a_sure_and_right_answer_has_no_modified_entropy_and_a_sure_and_wrong_one_much():
    right, wrong = modified_entropy([[40.0, 0, 0], [40.0, 0, 0]], [0, 1])

    assert right < 1e-15
    assert wrong > 40


@pytest.mark.parametrize("name", SIGNALS)
@pytest.mark.parametrize("scale", [1e3, 1e30])
def test_one_hot_answers_in_float32_stay_finite(name, scale):
    logits = np.eye(3, dtype=np.float32) * np.float32(scale)

    values = [SIGNALS[name][0](logits, y) for y in ([0, 1, 2], [1, 2, 0])]

    assert np.isfinite(values).all()


def test_a_tiny_loss_keeps_its_digits():
    assert loss([[50.0, 0.0]], [0]) == pytest.approx(exp(-50), rel=1e-12)


def test_every_score_is_higher_for_a_row_the_model_knows_well():
    known, unknown = [5.0, 0.0, 0.0], [-0.4, 0.0, 0.0]

    result = scores([known, unknown], [0, 0], tuple(SIGNALS))

    assert all(of[0] > of[1] for of in result.values())


def test_the_callers_logits_are_not_changed():
    logits = np.random.default_rng(0).normal(size=(5, 3))
    before = logits.copy()

    scores(logits, [0, 1, 2, 0, 1], tuple(SIGNALS))

    assert (logits == before).all()


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_an_answer_that_is_no_number_is_refused_with_a_count(bad):
    with pytest.raises(BadInput, match="on 1 rows"):
        loss([[bad, 0.0], [1.0, 0.0]], [0, 0])


@pytest.mark.parametrize(("logits", "y"), [([[1.0]], [0]), ([[1, 2]], [2]), ([[1, 2]], [-1]), ([[1, 2]], [])])
def test_logits_that_do_not_fit_the_labels_are_refused(logits, y):
    with pytest.raises(BadInput):
        loss(logits, y)
