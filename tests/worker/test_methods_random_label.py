"""Random labels: their law, and the steps that are taken along them."""

from copy import deepcopy

import pytest
import torch
from torch import Tensor
from torch.nn.functional import cross_entropy, log_softmax
from torch.optim import SGD, Adam

from service.domain.recipes import RandomLabel, SaliencyMask
from tests.worker.conftest import rng
from tests.worker.method_cases import close, far, follow, linear, run, split
from worker import tasks
from worker.asking import Ask
from worker.data import Batch, Batches, inputs
from worker.inference import losses
from worker.methods.random_label import misleading, together
from worker.unlearning import Run

K, N = 10, 45_000


def test_a_wrong_label_is_never_the_true_one_and_even_over_the_others():
    y = torch.arange(K).repeat(N // K)

    wrong = tasks.wrong_labels(y, K, rng())

    turn = torch.bincount((wrong - y) % K, minlength=K)
    expected = N / (K - 1)
    chi2 = ((turn[1:] - expected) ** 2 / expected).sum()
    assert turn[0] == 0
    assert chi2 < 27.9      # the 99.95 % quantile for 8 degrees of freedom


@pytest.mark.parametrize("labels", ["wrong", "uniform"])
def test_the_loss_is_that_of_the_labels_that_may_be_drawn(labels):
    outputs = torch.linspace(-2, 2, K).repeat(N, 1)
    y = torch.full((N,), 9)
    costs = -log_softmax(outputs[0], dim=0)     # of each label
    expected = costs[:9].mean() if labels == "wrong" else costs.mean()

    misled = misleading(RandomLabel(labels=labels), Run(rng()))(Batch(torch.zeros(N, 1), y), outputs)

    assert misled.item() == pytest.approx(expected.item(), abs=0.03)    # five standard errors


def test_labels_are_drawn_anew_each_time():
    misled = misleading(RandomLabel(), Run(rng()))
    batch, outputs = Batch(torch.zeros(20, 1), torch.zeros(20).long()), torch.randn(20, K, generator=rng(1))

    assert misled(batch, outputs).item() != misled(batch, outputs).item()


def test_wrong_labels_of_multi_label_rows_differ_somewhere_in_each_row():
    y = (torch.rand(500, 4, generator=rng()) < 0.5).float()

    wrong = tasks.wrong_labels(y, 4, rng(1))

    assert ((wrong != y).any(dim=1)).all()
    assert set(wrong.unique().tolist()) == {0.0, 1.0}


def of_two_classes(loss_of: type[Adam] | type[SGD]):
    """With two classes a wrong label is the other one, so the run is certain but for the order of its sums."""
    model, data = linear(2), split(2)
    known = deepcopy(model)
    options = {} if loss_of is Adam else {"momentum": 0.9, "weight_decay": 5e-4}
    return model, data, known, loss_of(known.parameters(), 0.05, **options)


def test_paired_batches_are_weighted_by_beta():
    model, data, known, optimiser = of_two_classes(Adam)
    f, r = data.forget, data.retain

    def loss() -> Tensor:
        return 0.8 * cross_entropy(known(r.x), r.y) + 0.2 * cross_entropy(known(f.x), 1 - f.y)

    after = run(model, data, RandomLabel(beta=0.8, epochs=3, lr=0.05)).model

    assert close(after, follow(known, optimiser, [loss] * 3), atol=1e-5)
    assert far(after, model)


def test_sequential_passes_go_over_the_forget_rows_first():
    model, data, known, optimiser = of_two_classes(SGD)
    f, r = data.forget, data.retain
    turns = [lambda: cross_entropy(known(f.x), 1 - f.y), lambda: cross_entropy(known(r.x), r.y)]

    result = run(model, data, RandomLabel(order="sequential", optimizer="sgd", epochs=3, lr=0.05))

    assert close(result.model, follow(known, optimiser, turns * 3), atol=1e-5)
    assert {"forget_loss", "retain_loss"} <= result.log[0].keys()
    assert result.log[0]["forget_loss"] == pytest.approx(losses(model, f).mean().item(), abs=1e-6)


def test_the_plain_loss_is_that_of_the_true_labels():
    model, data = linear(), split()
    D_f, D_r = Batches(data.forget, rng(), 9), Batches(data.retain, rng(), 9)

    goal = together(D_f, D_r, misleading(RandomLabel(), Run(rng())), 0.25)(Ask(model))

    f = data.forget
    assert goal.plain is not None
    assert goal.plain.item() == pytest.approx(cross_entropy(model(inputs(f.x)), f.y).item())
    assert goal.alpha == 0.25


def test_a_saliency_mask_decided_once_holds_through_both_passes():
    model, data = linear(), split()

    result = run(model, data, RandomLabel(order="sequential", optimizer="sgd", lr=0.05, mask=SaliencyMask(keep=0.25)))

    before, after = (torch.cat([w.detach().flatten() for w in m.parameters()]) for m in (model, result.model))
    assert int((before != after).sum()) == 3        # a quarter of twelve
    assert {entry["density"] for entry in result.log} == {0.25}


def test_a_mask_of_each_batch_needs_paired_batches():
    with pytest.raises(ValueError, match="order=paired"):
        RandomLabel(order="sequential", mask=SaliencyMask(scope="batch"))
