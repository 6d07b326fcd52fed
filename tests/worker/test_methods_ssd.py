"""Selective synaptic dampening, against one gradient per row the slow way."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, mse_loss, scaled_dot_product_attention

from service.domain.recipes import Ssd
from service.errors import Diverged
from tests.worker.conftest import rng
from tests.worker.method_cases import close, drawn, linear, run, split
from worker.data import Rows, Split
from worker.methods.ssd import dampen
from worker.optimise import trainable

Loss = Callable[[Tensor, Tensor], Tensor]


def fisher(model: nn.Module, rows: Rows, loss: Loss) -> list[Tensor]:
    """The mean over the rows of each row's squared gradient."""
    total = [torch.zeros_like(w) for w in trainable(model)]
    for x, y in zip(rows.x, rows.y, strict=True):
        slopes = torch.autograd.grad(loss(model(x[None]), y[None]), trainable(model))
        total = [t + g**2 for t, g in zip(total, slopes, strict=True)]
    return [t / len(rows) for t in total]


def by_hand(model: nn.Module, data: Split, alpha: float, lam: float, loss: Loss = cross_entropy) -> list[Tensor]:
    """The weights that the paper's two equations give."""
    everything = Rows(torch.cat([data.retain.x, data.forget.x]), torch.cat([data.retain.y, data.forget.y]))
    I_f, I_D = fisher(model, data.forget, loss), fisher(model, everything, loss)
    return [torch.where(f > alpha * d, torch.clamp(lam * d / f, max=1) * w, w)
            for w, f, d in zip(trainable(model), I_f, I_D, strict=True)]


def at_rest(make: Callable[[], nn.Module]) -> nn.Module:
    with torch.random.fork_rng(()):
        torch.manual_seed(3)
        model = make()
        model(torch.randn(30, 3))       # running statistics are no longer those of a new model
        return model.eval()


class Tied(nn.Module):
    """One layer that is used twice, by two names."""

    def __init__(self) -> None:
        super().__init__()
        self.one = self.other = nn.Linear(3, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.other(torch.tanh(self.one(x)))


class Looking(nn.Module):
    """Each feature is a place that looks at the others, through torch's fused kernel."""

    def __init__(self) -> None:
        super().__init__()
        self.qkv, self.head = nn.Linear(1, 12), nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = self.qkv(x[..., None]).chunk(3, dim=-1)
        return self.head(scaled_dot_product_attention(q, k, v).mean(dim=1))


def frozen() -> nn.Module:
    model = nn.Sequential(nn.Linear(3, 5), nn.ReLU(), nn.Linear(5, 3))
    model[0].requires_grad_(requires_grad=False)
    return model


def normalised() -> nn.Module:
    return nn.Sequential(nn.Linear(3, 5), nn.BatchNorm1d(5), nn.ReLU(), nn.Dropout(0.5), nn.Linear(5, 3))


MODELS = {"linear": linear, "tied": Tied, "frozen": frozen, "normalised": normalised, "attention": Looking}


@pytest.mark.parametrize(("alpha", "lam"), [(1.0, 1.0), (0.8, 0.5), (1.5, 1.2)])
@pytest.mark.parametrize("make", MODELS.values(), ids=MODELS)
def test_the_weights_are_those_of_the_papers_equations(make, alpha, lam):
    model, data = at_rest(make), split()

    result = run(model, data, Ssd(selection=alpha, dampening=lam, batch=4))

    for weight, expected in zip(trainable(result.model), by_hand(model, data, alpha, lam), strict=True):
        assert torch.allclose(weight, expected, atol=1e-6)
    assert result.log[0]["dampened"] > 0
    assert not close(result.model, model)


def test_a_regression_is_dampened_by_its_squared_errors():
    model, g = at_rest(lambda: nn.Linear(3, 1)), rng(2)
    data = Split(*(Rows(torch.randn(n, 3, generator=g), torch.randn(n, generator=g)) for n in (9, 5, 6)))

    after = run(model, data, Ssd(selection=0.9, dampening=0.5)).model

    expected = by_hand(model, data, 0.9, 0.5, lambda o, y: mse_loss(o[:, 0], y))
    assert all(torch.allclose(w, e, atol=1e-6) for w, e in zip(trainable(after), expected, strict=True))


def test_how_many_rows_are_in_memory_has_no_say():
    model, data = linear(), split()

    one, all_at_once = (run(model, data, Ssd(selection=0.9, batch=batch)).model for batch in (1, 99))

    assert close(one, all_at_once)


def test_only_weights_that_matter_more_by_the_factor_are_dampened_and_none_grows():
    w = nn.Parameter(torch.tensor([1.0, -2.0, 3.0, 4.0]))
    I_f, I_D = [torch.tensor([10.0, 30.0, 5.0, 0.0])], [torch.tensor([1.0, 2.0, 1.0, 0.0])]

    share = dampen([w], I_f, I_D, Ssd(selection=10, dampening=1))

    assert w.tolist() == pytest.approx([1, -2 * 2 / 30, 3, 4])
    assert share.item() == 0.25
    dampen([w], I_f, I_D, Ssd(selection=10, dampening=20))
    assert w.tolist() == pytest.approx([1, -2 * 2 / 30, 3, 4])


def test_each_chunk_of_rows_is_a_step():
    heard: list[tuple[int, int]] = []

    run(linear(), split(), Ssd(batch=4), on_step=lambda *step: heard.append(step))

    assert heard == [(i, 5) for i in range(1, 6)]       # two of five rows, three of nine


def test_gradients_that_are_not_finite_name_their_step():
    data = split()
    rows = drawn(9, 2)
    rows.x[8] = float("nan")

    with pytest.raises(Diverged, match="step 5"):
        run(linear(), Split(rows, data.forget, data.validation), Ssd(batch=4))
