"""∇τ against vectors worked out by hand; in the paper's tests the losses themselves are the weights."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from torch.nn.functional import cross_entropy
from torch.optim import AdamW
from torch.optim.lr_scheduler import LinearLR

from service.domain.recipes import Logistic, NablaTau, Spec, Vector
from worker.data import Rows, Split
from worker.inference import losses
from worker.methods.nabla_tau import Mean, Quantiles, alphas, epochs, first_alpha, paper_alpha, quantiles, restart
from worker.optimise import Objective
from worker.training import build
from worker.unlearning import unlearn

Numbers = list[float]


def aimed(tau: float) -> Mean:
    target = Mean()
    target.look(torch.tensor([tau]))
    return target


def of_mean(forget: Numbers, retain: Numbers, tau: float, alpha: float) -> tuple[float, Tensor, Tensor]:
    f, r = (torch.tensor(v, requires_grad=True) for v in (forget, retain))
    total = Objective(retain=r.mean(), forget=aimed(tau).shortfall(f)[0], alpha=alpha).total
    return total.item(), *torch.autograd.grad(total, [f, r])


@pytest.mark.parametrize(
    ("forget", "alpha", "loss", "d_forget", "d_retain"),
    [
        ([0.1, 0.3], 0.25, 0.385, [-0.2, -0.2], [0.375, 0.375]),
        ([2.0, 1.0], 0.25, 0.225, [0, 0], [0.375, 0.375]),
        ([0.1, 0.3], 0.0, 0.30, [0, 0], [0.5, 0.5]),
        ([0.1, 0.3], 1.0, 0.64, [-0.8, -0.8], [0, 0]),
    ],
    ids=["below τ", "above τ", "α = 0", "α = 1"],
)
def test_the_papers_loss_and_its_gradients(forget, alpha, loss, d_forget, d_retain):
    total, by_forget, by_retain = of_mean(forget, [0.2, 0.4], 1.0, alpha)

    assert total == pytest.approx(loss)
    assert by_forget.tolist() == pytest.approx(d_forget)
    assert by_retain.tolist() == pytest.approx(d_retain)


def test_the_loss_is_squared_and_one_sided():
    below, above = (aimed(1.0).shortfall(torch.tensor(v))[0].item() for v in ([0.1, 0.3], [2.0, 1.0]))

    assert 0.25 * below + 0.75 * 0.3 != pytest.approx(0.425)    # what it would be without the square
    assert 0.25 * above != pytest.approx(0.0625)                # what it would be with two sides
    assert above == 0


def test_alpha_falls_by_the_same_amount_each_forget_epoch():
    assert alphas(0.5, 6, decay=1) == pytest.approx([0.5, 0.416667, 0.333333, 0.25, 0.166667, 0.083333], abs=1e-6)


@pytest.mark.parametrize(("forget", "alpha"), [(3, 0.05), (15, 0.25), (30, 0.5), (90, 1.0)])
def test_the_papers_first_alpha_is_a_share_and_never_above_one(forget, alpha):
    assert paper_alpha(forget, 100 - forget) == pytest.approx(alpha)


def test_the_learning_rate_falls_to_a_tenth():
    optimiser = AdamW([torch.nn.Parameter(torch.zeros(1))], 1e-3)
    schedule = LinearLR(optimiser, 1.0, 0.1, total_iters=6)
    rates = []

    for _ in range(7):
        rates.append(optimiser.param_groups[0]["lr"])
        optimiser.step()
        schedule.step()

    assert rates == pytest.approx([1e-3, 8.5e-4, 7e-4, 5.5e-4, 4e-4, 2.5e-4, 1e-4])


@pytest.mark.parametrize(
    ("R", "F", "E", "fresh"), [(190, 6, 95, 31), (167, 30, 16, 5), (137, 59, 6, 2), (98, 98, 3, 1), (79, 118, 2, 1)]
)
def test_the_budget_is_the_papers(R, F, E, fresh):
    assert epochs(R, F, passes=3.0) == E
    assert restart(R, F) == fresh


def test_a_forget_set_far_larger_than_the_retain_set_has_one_epoch():
    assert epochs(1, 100, passes=3.0) == 1


def test_tau_counts_rows_and_not_batches():
    target = Mean()

    target.look(torch.tensor([1.0, 1, 1, 4]))

    assert target.tau == 1.75


@given(v=st.lists(st.floats(0, 9, width=32), min_size=1, max_size=30), n=st.integers(1, 20))
def test_quantiles_are_torchs(v, n):
    ascending = torch.tensor(v).sort().values
    places = (torch.arange(n) + 0.5) / n

    assert torch.allclose(quantiles(ascending, n), torch.quantile(ascending, places), atol=1e-4)


def test_each_forget_loss_is_led_to_the_quantile_of_its_rank():
    target = Quantiles()
    target.look(torch.tensor([0.0, 1.0, 2.0]))      # at n = 2: quarter .5, three quarters 1.5
    f = torch.tensor([1.6, 0.1], requires_grad=True)

    shortfall, active = target.shortfall(f)
    (slope,) = torch.autograd.grad(shortfall, [f])

    assert shortfall.item() == pytest.approx((0.4 + 0.1 / 4) / 2)
    assert slope.tolist() == [0.125, -0.5]
    assert active.item() == 0.5


def test_equal_distributions_leave_nothing_to_do():
    v = torch.rand(50, generator=torch.Generator().manual_seed(0))
    target = Quantiles()
    target.look(v)

    assert target.shortfall(quantiles(v.sort().values, 20))[0].item() == pytest.approx(0, abs=1e-6)


def test_equal_means_are_not_enough_for_the_quantiles():
    mean, quantile, forget = Mean(), Quantiles(), torch.tensor([1.0, 1.0])
    for target in (mean, quantile):
        target.look(torch.tensor([0.0, 2.0]))

    assert mean.shortfall(forget)[0].item() == 0
    assert quantile.shortfall(forget)[0].item() > 0


def test_a_model_that_breaks_does_not_raise_its_own_target():
    target = Quantiles()
    target.look(torch.tensor([0.0, 1.0, 2.0]))

    target.look(torch.tensor([9.0, 9.0, 9.0]))
    broken = target.log()
    target.look(torch.tensor([0.0, 0.5, 9.0]))

    assert broken == {"tau": 1.0, "tau_median": 1.0}
    assert target.log() == {"tau": pytest.approx(2.5 / 3), "tau_median": 0.5}


def linear() -> tuple[torch.nn.Module, Split]:
    spec = Spec(family=Logistic(), input=Vector(features=3), classes=3)
    g = torch.Generator().manual_seed(0)
    parts = [Rows(torch.randn(n, 3, generator=g), torch.randint(0, 3, (n,), generator=g)) for n in (9, 5, 6)]
    return build(spec, torch.Generator().manual_seed(1)), Split(*parts)


def test_the_first_step_is_adamw_along_the_gradient_of_the_papers_loss():
    model, data = linear()
    known = Rows(data.forget.x, model(data.forget.x).argmax(dim=1))     # low losses, so the ReLU is open
    L_f, L_r = (cross_entropy(model(d.x), d.y) for d in (known, data.retain))
    loss = 0.3 * torch.relu(losses(model, data.validation).mean() - L_f) ** 2 + 0.7 * L_r
    slopes = torch.autograd.grad(loss, list(model.parameters()))
    expected = [(1 - 1e-4) * w - 1e-2 * g / (g.abs() + 1e-8) for w, g in zip(model.parameters(), slopes, strict=True)]

    result = unlearn(
        model,
        Split(data.retain, known, data.validation),
        NablaTau(target="mean", alpha0=0.3, passes=1, lr=1e-2),
        rng=torch.Generator().manual_seed(0),
    )

    assert result.log[0]["active"] == 1
    for moved, wanted in zip(result.model.parameters(), expected, strict=True):
        assert torch.allclose(moved, wanted, atol=1e-6)


@pytest.mark.parametrize(("refresh", "looks"), [(5, {0, 5, 10, 15}), (1, set(range(16)))])
def test_the_target_is_looked_at_anew_every_few_forget_epochs(refresh, looks):
    model, data = linear()
    recipe = NablaTau(target="mean", passes=16, refresh=refresh, lr=0.1)

    log = unlearn(model, data, recipe, rng=torch.Generator().manual_seed(0)).log

    changed = {e for e in range(1, 16) if log[e]["tau"] != log[e - 1]["tau"]} | {0}
    assert len(log) == 16
    assert changed == looks


def test_the_default_alphas_are_the_papers_for_the_mean_and_ours_for_the_quantiles():
    _, data = linear()

    assert first_alpha(NablaTau(target="mean"), data) == pytest.approx(5 / 3 * 5 / 14)
    assert first_alpha(NablaTau(target="quantile"), data) == 0.5
    assert first_alpha(NablaTau(alpha0=0.2), data) == 0.2
