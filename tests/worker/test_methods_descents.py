"""Methods that follow the gradients of plain losses, against loops of torch's own optimisers."""

from copy import deepcopy

import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy
from torch.optim import SGD, Adam, AdamW

from service.domain.recipes import AndMask, FineTune, L1Sparse, NegGrad, NegGradPlus
from tests.worker.method_cases import close, far, follow, linear, run, split
from worker.data import Rows, Split
from worker.inference import losses
from worker.methods.fine_tune import steps
from worker.methods.l1_sparse import faded


def test_fine_tuning_is_adamw_on_the_retain_rows_at_a_falling_rate():
    model, data = linear(), split()
    r, known = data.retain, deepcopy(model)
    optimiser = AdamW(known.parameters())

    def at(rate: float):
        def loss():
            optimiser.param_groups[0]["lr"] = rate
            return cross_entropy(known(r.x), r.y)

        return loss

    after = run(model, data, FineTune(passes=3, lr=0.1)).model

    assert close(after, follow(known, optimiser, [at(0.1), at(0.07), at(0.04)]), atol=1e-5)
    assert far(after, model)


@pytest.mark.parametrize(("R", "passes", "total"), [(4, 2.5, 10), (4, 0.1, 1), (1, 2.0, 2), (3, 0.5, 2)])
def test_passes_of_fine_tuning_may_be_parts_of_one(R, passes, total):
    assert steps(R, passes) == total


def test_the_last_pass_of_fine_tuning_ends_where_the_recipe_says():
    heard: list[tuple[int, int]] = []

    log = run(linear(), split(), FineTune(passes=2.5, batch=3), on_step=lambda *step: heard.append(step)).log

    assert heard == [(i, 8) for i in range(1, 9)]       # 2.5 passes of three batches, rounded to even
    assert len(log) == 3


def test_neg_grad_is_sgd_up_the_loss_of_the_forget_rows():
    model, data = linear(), split()
    f, known = data.forget, deepcopy(model)
    optimiser = SGD(known.parameters(), 0.05, momentum=0.9, weight_decay=5e-4)

    result = run(model, data, NegGrad(epochs=4, lr=0.05))

    assert close(result.model, follow(known, optimiser, [lambda: -cross_entropy(known(f.x), f.y)] * 4), atol=1e-5)
    assert losses(result.model, f).mean() > losses(model, f).mean()
    assert result.log[0]["forget_loss"] == pytest.approx(losses(model, f).mean().item(), abs=1e-6)


def test_neg_grad_plus_is_adam_along_the_weighted_difference():
    model, data = linear(), split()
    f, r, known = data.forget, data.retain, deepcopy(model)
    optimiser = Adam(known.parameters(), 0.05)

    def loss():
        return 0.7 * cross_entropy(known(r.x), r.y) - 0.3 * cross_entropy(known(f.x), f.y)

    after = run(model, data, NegGradPlus(beta=0.7, epochs=4, lr=0.05)).model

    assert close(after, follow(known, optimiser, [loss] * 4), atol=1e-5)
    assert far(after, model)


def opposed() -> tuple[nn.Module, Split]:
    """At w = 0 the gradients of −L_f and L_r are those of the vector D2: squared errors of one row each."""
    gU, gC = torch.tensor([1.0, -2, 3, -4, 0]), torch.tensor([2.0, -1, -3, 4, 5])
    model = nn.Linear(5, 1, bias=False)
    nn.init.zeros_(model.weight)
    one = torch.ones(1)
    return model, Split(Rows(-gC[None] / 2, one), Rows(gU[None] / 2, one), Rows(torch.eye(5)[:1], one))


@pytest.mark.parametrize(
    ("beta", "signs"),
    [(0.95, [1, -1, -1, 1, 1]), (0.0, [1, -1, 1, -1, 0]), (1.0, [1, -1, -1, 1, 1]), (0.5, [1, -1, 0, 0, 1])],
)
def test_the_first_step_of_neg_grad_plus_has_the_signs_of_the_aggregate(beta, signs):
    model, data = opposed()

    after = run(model, data, NegGradPlus(beta=beta, epochs=1, lr=0.01)).model

    assert after.weight[0].tolist() == pytest.approx([-0.01 * s for s in signs], abs=1e-6)


def test_the_and_mask_of_neg_grad_plus_holds_what_the_vector_says():
    model, data = opposed()

    result = run(model, data, NegGradPlus(epochs=1, lr=0.01, mask=AndMask()))

    assert result.model.weight[0].tolist() == pytest.approx([-0.01, 0.01, 0, 0, -0.01], abs=1e-6)
    assert result.log[0]["density"] == pytest.approx(0.6)
    assert result.log[0]["feasible"] == 1


def test_the_retain_rows_go_on_from_one_forget_epoch_to_the_next():
    data = split()
    seen: list[int] = []

    class Noting(nn.Linear):
        def forward(self, x):
            seen.extend(i for i, row in enumerate(data.retain.x) if (x == row).all(dim=1).any())
            return super().forward(x)

    run(Noting(3, 3), data, NegGradPlus(epochs=9, batch=5))     # one forget batch, two retain batches

    assert seen[:9] != seen[9:18]
    assert sorted(seen[:9]) == sorted(seen[9:18]) == list(range(9))


def test_the_penalty_falls_by_the_same_amount_each_epoch():
    assert [faded(0.6, t, 3) for t in range(3)] == pytest.approx([0.6, 0.4, 0.2])


def test_l1_sparse_is_sgd_on_the_retain_loss_and_the_fading_norm():
    model, data = linear(), split()
    r, known = data.retain, deepcopy(model)
    optimiser = SGD(known.parameters(), 0.05, momentum=0.9, weight_decay=5e-4)

    def at(gamma: float):
        return lambda: cross_entropy(known(r.x), r.y) + gamma * sum(w.abs().sum() for w in known.parameters())

    result = run(model, data, L1Sparse(gamma=0.6, epochs=3, lr=0.05))

    assert close(result.model, follow(known, optimiser, [at(0.6), at(0.4), at(0.2)]), atol=1e-5)
    assert result.log[0]["l1"] == pytest.approx(sum(w.abs().sum().item() for w in model.parameters()), rel=1e-5)


def test_a_heavier_penalty_leaves_smaller_weights():
    model, data = linear(), split()

    norms = [run(model, data, L1Sparse(gamma=g, epochs=20)).log[-1]["l1"] for g in (0, 0.05, 0.5)]

    assert norms == sorted(norms, reverse=True)
    assert norms[0] > 2 * norms[2]
