"""Losses, divergences and other labels of every task, against torch's own and by counting."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from torch.nn.functional import (
    binary_cross_entropy_with_logits,
    cross_entropy,
    kl_div,
    log_softmax,
    logsigmoid,
    mse_loss,
    softmax,
)

from service.errors import BadInput
from tests.worker.conftest import rng
from worker.tasks import any_labels, divergences, hits, losses, refuse_labels, task_of, wrong_labels

N, K = 50, 4
LABELS = {
    "classification": torch.randint(K, (N,), generator=rng(1)),
    "multi_label": (torch.rand(N, K, generator=rng(2)) < 0.4).float(),
    "regression": torch.randn(N, generator=rng(3)),
}
every = pytest.mark.parametrize(("task", "y"), LABELS.items(), ids=LABELS)


def answers(seed: int = 0, columns: int = K) -> Tensor:
    return 5 * torch.randn(N, columns, generator=rng(seed))


@every
def test_the_labels_tell_the_task(task, y):
    assert task_of(y) == task


def test_the_mean_of_the_losses_is_torchs():
    o, one = answers(), answers(columns=1)
    torchs = [
        cross_entropy(o, LABELS["classification"]),
        binary_cross_entropy_with_logits(o, LABELS["multi_label"]),
        mse_loss(one[:, 0], LABELS["regression"]),
    ]

    ours = [losses(one if task == "regression" else o, y).mean() for task, y in LABELS.items()]

    assert [loss.item() for loss in ours] == pytest.approx([loss.item() for loss in torchs], rel=1e-6)


@every
def test_a_loss_is_of_its_row_alone(task, y):
    o = answers(columns=1 if task == "regression" else K)

    alone = torch.cat([losses(o[i : i + 1], y[i : i + 1]) for i in range(N)])

    assert losses(o, y).shape == (N,)
    assert torch.allclose(losses(o, y), alone)


def test_hits_are_counted():
    o = torch.tensor([[2.0, 1.0, -1.0], [0.0, 3.0, 1.0]])

    assert hits(o, torch.tensor([0, 2])).tolist() == [1, 0]
    assert hits(o, torch.tensor([[1.0, 0, 0], [0, 1, 1]])).tolist() == pytest.approx([2 / 3, 1])
    with pytest.raises(BadInput, match="accuracy"):
        hits(o, torch.tensor([0.5, 2.0]))


@pytest.mark.parametrize("T", [1.0, 4.0])
def test_the_divergence_is_torchs_kl_from_teacher_to_student(T):
    teacher, student = answers(1), answers(2)
    torchs = kl_div(log_softmax(student / T, 1), softmax(teacher / T, 1), reduction="none").sum(dim=1)
    t, s = (torch.stack([o / T, -o / T]).double() for o in (teacher, student))      # yes and no of each label
    of_labels = kl_div(logsigmoid(s), t.sigmoid(), reduction="none").sum(dim=0).mean(dim=1)

    assert torch.allclose(divergences(teacher, student, LABELS["classification"], T), torchs, atol=1e-5)
    assert torch.allclose(divergences(teacher, student, LABELS["multi_label"], T).double(), of_labels, atol=1e-4)
    halves = 0.5 * ((teacher - student)[:, 0] / T) ** 2
    assert torch.allclose(divergences(teacher, student, LABELS["regression"], T), halves)


@every
def test_nothing_diverges_from_itself_and_everything_from_others(task, y):
    teacher, student = answers(1), answers(2)

    assert divergences(teacher, teacher, y).abs().max() == 0
    assert (divergences(teacher, student, y) > 0).all()


@every
def test_a_divergence_of_certain_answers_is_finite_and_has_a_gradient(task, y):
    teacher, student = 300 * answers(1), (300 * answers(2)).requires_grad_()

    divergence = divergences(teacher, student, y)
    (slope,) = torch.autograd.grad(divergence.sum(), [student])

    assert torch.isfinite(divergence).all()
    assert torch.isfinite(slope).all()


@given(seed=st.integers(0, 1000), outputs=st.integers(2, 12))
def test_a_wrong_class_is_never_the_true_one_and_always_a_class(seed, outputs):
    y = torch.randint(outputs, (40,), generator=rng(seed))

    wrong = wrong_labels(y, outputs, rng(seed + 1))

    assert (wrong != y).all()
    assert wrong.min() >= 0
    assert wrong.max() < outputs


def test_wrong_classes_are_even_over_the_others():
    counts = torch.bincount(wrong_labels(torch.full((9000,), 3), 10, rng()), minlength=10)

    assert counts[3] == 0
    assert counts[counts > 0].tolist() == pytest.approx([1000] * 9, abs=150)      # five standard deviations


@given(seed=st.integers(0, 1000))
def test_wrong_labels_of_a_row_differ_in_one_at_least(seed):
    y = (torch.rand(30, K, generator=rng(seed)) < 0.5).float()

    wrong = wrong_labels(y, K, rng(seed + 1))

    assert (wrong != y).any(dim=1).all()
    assert set(wrong.unique().tolist()) <= {0, 1}


@pytest.mark.parametrize("y", [LABELS["regression"], torch.tensor([3.0]), torch.zeros(5), torch.full((4,), 1e6)])
def test_a_wrong_number_is_another_number_on_either_side(y):
    wrong = torch.stack([wrong_labels(y, 1, rng(seed)) for seed in range(40)])

    assert (wrong != y).all()
    assert torch.isfinite(wrong).all()
    assert (wrong > y).any()
    assert (wrong < y).any()


@every
def test_any_labels_are_of_the_same_kind_and_drawn_from_the_generator(task, y):
    drawn = [any_labels(y, K, rng(seed)) for seed in (5, 5, 6)]

    assert (drawn[0].dtype, drawn[0].shape) == (y.dtype, y.shape)
    assert torch.equal(drawn[0], drawn[1])
    assert not torch.equal(drawn[0], drawn[2])


def test_any_numbers_are_the_batchs_own_in_another_order():
    y = LABELS["regression"]

    assert torch.equal(any_labels(y, 1, rng()).sort().values, y.sort().values)


@every
def test_labels_are_of_the_models_outputs(task, y):
    outputs = 1 if task == "regression" else K

    refuse_labels(y, outputs)
    with pytest.raises(BadInput, match=task):
        refuse_labels(y, outputs + 1 if task != "classification" else int(y.max()))


@pytest.mark.parametrize("y", [torch.tensor([-1, 0]), torch.zeros(2, 3, dtype=torch.int64), torch.zeros(2, 3, 1)])
def test_labels_of_no_task_are_refused(y):
    with pytest.raises(BadInput):
        refuse_labels(y, 3)
