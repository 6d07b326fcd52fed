"""∇τ against vectors worked out by hand; in the paper's tests the losses themselves are the weights."""

from math import log

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from torch.nn.functional import cross_entropy
from torch.optim import AdamW
from torch.optim.lr_scheduler import LinearLR

from service.domain.recipes import AndMask, Logistic, NablaTau, Spec, Vector
from worker.data import Rows, Split
from worker.inference import losses
from worker.methods.nabla_tau import (
    TARGETS,
    ClassMeans,
    Mean,
    Quantiles,
    Target,
    alphas,
    epochs,
    first_alpha,
    paper_alpha,
    quantiles,
    restart,
)
from worker.optimise import Objective
from worker.training import build
from worker.unlearning import Unlearned, unlearn

Numbers = list[float]


def as_answers(values: Numbers) -> tuple[Tensor, Tensor]:
    """Answers and labels of a regression whose losses are these."""
    return torch.tensor(values).sqrt()[:, None], torch.zeros(len(values))


def seen(target: Target, values: Numbers) -> Target:
    """The target once it has looked at unseen rows with these losses."""
    target.look(*as_answers(values))
    return target


def aimed(tau: float, form: str = "squared") -> Target:
    return seen(Mean(NablaTau(target="mean", form=form)), [tau])


def quantile() -> Quantiles:
    return Quantiles(NablaTau())


def of_mean(
    forget: Numbers, retain: Numbers, tau: float, alpha: float, form: str = "squared"
) -> tuple[float, Tensor, Tensor]:
    f, r = (torch.tensor(v, requires_grad=True) for v in (forget, retain))
    total = Objective(retain=r.mean(), forget=aimed(tau, form).shortfall(f, f)[0], alpha=alpha).total
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


@pytest.mark.parametrize(
    ("form", "forget", "loss", "d_forget"),
    [
        ("unsquared", [0.1, 0.3], 0.425, [-0.125, -0.125]),
        ("unsquared", [2.0, 1.0], 0.225, [0, 0]),
        ("two_sided", [0.1, 0.3], 0.385, [-0.2, -0.2]),
        ("two_sided", [2.0, 1.0], 0.225 + 0.0625, [0.125, 0.125]),
    ],
)
def test_the_other_forms_of_the_loss_and_their_gradients(form, forget, loss, d_forget):
    total, by_forget, _ = of_mean(forget, [0.2, 0.4], 1.0, 0.25, form)

    assert total == pytest.approx(loss)
    assert by_forget.tolist() == pytest.approx(d_forget)


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
    target = seen(Mean(NablaTau(target="mean")), [1, 1, 1, 4])

    assert target.log() == {"tau": pytest.approx(1.75)}


def test_each_class_has_a_target_of_its_own_and_an_unseen_one_that_of_a_guess():
    answers, y = torch.randn(40, 3, generator=torch.Generator().manual_seed(0)), torch.arange(40) % 2
    target = ClassMeans(NablaTau(target="class"))
    target.look(answers, y)
    of_row = cross_entropy(answers, y, reduction="none")
    tau = [of_row[y == 0].mean().item(), of_row[y == 1].mean().item(), log(3)]
    losses, labels = torch.tensor([0.1, 0.3, 0.2, 9.0], requires_grad=True), torch.tensor([0, 0, 2, 1])

    shortfall, active = target.shortfall(losses, labels)
    (slope,) = torch.autograd.grad(shortfall, [losses])

    gaps = [tau[0] - 0.2, tau[2] - 0.2]
    assert target.log() == {"tau": pytest.approx(sum(tau) / 3)}
    assert shortfall.item() == pytest.approx(2 / 4 * gaps[0] ** 2 + 1 / 4 * gaps[1] ** 2)
    assert slope.tolist() == pytest.approx([-gaps[0] / 2, -gaps[0] / 2, -gaps[1] / 2, 0])
    assert active.item() == 0.75


def test_labels_that_are_no_classes_have_one_target():
    target = seen(ClassMeans(NablaTau(target="class")), [1, 1, 1, 4])

    assert target.shortfall(torch.tensor([0.25, 1.25]), torch.zeros(2))[0].item() == pytest.approx(1.0)


@given(v=st.lists(st.floats(0, 9, width=32), min_size=1, max_size=30), n=st.integers(1, 20))
def test_quantiles_are_torchs(v, n):
    ascending = torch.tensor(v).sort().values
    places = (torch.arange(n) + 0.5) / n

    assert torch.allclose(quantiles(ascending, n), torch.quantile(ascending, places), atol=1e-4)


def test_each_forget_loss_is_led_to_the_quantile_of_its_rank():
    target = seen(quantile(), [0.0, 1.0, 2.0])      # at n = 2: quarter .5, three quarters 1.5
    f = torch.tensor([1.6, 0.1], requires_grad=True)

    shortfall, active = target.shortfall(f, f)
    (slope,) = torch.autograd.grad(shortfall, [f])

    assert shortfall.item() == pytest.approx(0.4 / 2)
    assert slope.tolist() == [0.0, -0.5]
    assert active.item() == 0.5


def test_equal_distributions_leave_nothing_to_do():
    v = torch.rand(50, generator=torch.Generator().manual_seed(0))
    forget = quantiles(v.sort().values, 20)

    assert seen(quantile(), v.tolist()).shortfall(forget, forget)[0].item() == pytest.approx(0, abs=1e-6)


def test_equal_means_are_not_enough_for_the_quantiles():
    forget = torch.tensor([1.0, 1.0])

    mean, ranked = (seen(t, [0.0, 2.0]).shortfall(forget, forget)[0] for t in (aimed(9), quantile()))

    assert mean.item() == pytest.approx(0, abs=1e-9)
    assert ranked.item() > 0


def test_a_model_that_breaks_does_not_raise_its_own_target():
    target = seen(quantile(), [0.0, 1.0, 2.0])

    broken = seen(target, [9.0, 9.0, 9.0]).log()
    back = seen(target, [0.0, 0.5, 9.0]).log()

    assert broken == pytest.approx({"tau": 1.0, "tau_median": 1.0})
    assert back == pytest.approx({"tau": 2.5 / 3, "tau_median": 0.5})


@pytest.mark.parametrize("target", TARGETS)
def test_a_target_that_is_taken_up_again_aims_at_the_same(target):
    recipe = NablaTau(target=target)
    one = TARGETS[target](recipe)
    one.look(torch.randn(30, 3, generator=torch.Generator().manual_seed(0)), torch.arange(30) % 3)
    losses, y = torch.linspace(0, 3, 12), torch.arange(12) % 3

    other = TARGETS[target](recipe)
    other.load_state_dict(one.state_dict())

    assert other.log() == one.log()
    assert torch.equal(other.shortfall(losses, y)[0], one.shortfall(losses, y)[0])


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

    told = unlearn(model, data, recipe, rng=torch.Generator().manual_seed(0)).log

    changed = {e for e in range(1, 16) if told[e]["tau"] != told[e - 1]["tau"]} | {0}
    assert len(told) == 16
    assert changed == looks


def test_the_default_alphas_are_the_papers_for_the_mean_and_ours_for_the_quantiles():
    _, data = linear()

    assert first_alpha(NablaTau(target="mean"), data) == pytest.approx(5 / 3 * 5 / 14)
    assert first_alpha(NablaTau(target="quantile"), data) == 0.4
    assert first_alpha(NablaTau(alpha0=0.2), data) == 0.2


def test_the_log_says_what_happened():
    model, data = linear()

    result = unlearn(model, data, NablaTau(target="mean"), rng=torch.Generator().manual_seed(0))

    assert isinstance(result, Unlearned)
    assert result.seconds > 0
    assert {"epoch", "alpha", "tau", "forget_loss", "retain_loss", "active"} <= result.log[0].keys()
    assert result.log[0]["tau"] == pytest.approx(losses(model, data.validation).mean().item())


def test_the_and_mask_with_equal_signs_makes_every_update_feasible():
    model, data = linear()

    told = unlearn(model, data, NablaTau(mask=AndMask()), rng=torch.Generator().manual_seed(0)).log

    assert {entry["feasible"] for entry in told} == {1.0}
    assert min(entry["density"] for entry in told) < 1
