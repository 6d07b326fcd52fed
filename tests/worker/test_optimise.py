"""The one place where weights move."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import mse_loss
from torch.optim import SGD, Adam, AdamW
from torch.optim.lr_scheduler import LambdaLR

from service.errors import BadInput, Cancelled, Diverged
from worker.asking import Ask
from worker.data import Batch
from worker.gates import Decision, Gate, Held, Opposed
from worker.optimise import Objective, Progress, descend, step

HELD = [torch.tensor([True, False])]
GATES: dict[str, Callable[[list[Tensor]], Gate | Held]] = {
    "once": Held,
    "anew": lambda moves: Gate(lambda _: Decision(moves)),
    "by micro-batches": lambda moves: Gate(lambda _: Decision(moves), micro=2),
}


def weight(values: list[float]) -> nn.Parameter:
    return nn.Parameter(torch.tensor(values))


def test_adam_cancels_a_constant_factor_of_the_gradient():
    plain, scaled, held = weight([0.0, 0.0]), weight([0.0, 0.0]), weight([0.0, 0.0])

    for w, g in ((plain, [1.0, -2.0]), (scaled, [0.75, -0.5]), (held, [1.0, 0.0])):
        step([w], [torch.tensor(g)], Adam([w], 1e-4))

    assert plain.tolist() == pytest.approx([-1e-4, 1e-4], abs=1e-9)
    assert scaled.tolist() == pytest.approx([-1e-4, 1e-4], abs=1e-9)
    assert held.tolist() == pytest.approx([-1e-4, 0], abs=1e-9)


@pytest.mark.parametrize(
    ("optimiser", "free", "drifted"),
    [(lambda w: SGD([w], 0.1, weight_decay=0.1), 0.94, 0.99), (lambda w: AdamW([w], 0.1), 0.899, 0.999)],
)
def test_weight_decay_moves_a_weight_without_a_gradient_but_not_a_held_one(optimiser, free, drifted):
    w, unheld = weight([1.0, 1.0]), weight([1.0, 1.0])

    step([unheld], [torch.tensor([0.5, 0.0])], optimiser(unheld))
    step([w], [torch.tensor([0.5, 0.0])], optimiser(w), HELD)

    assert unheld.tolist() == pytest.approx([free, drifted])
    assert w.tolist() == pytest.approx([free, 1.0])
    assert w[1].item() == 1.0


def test_momentum_moves_a_weight_without_a_gradient_but_not_a_held_one():
    w, unheld = weight([1.0, 1.0]), weight([1.0, 1.0])
    first, second = SGD([w], 0.1, momentum=0.9), SGD([unheld], 0.1, momentum=0.9)

    for each, optimiser in ((w, first), (unheld, second)):
        step([each], [torch.tensor([0.5, 0.5])], optimiser, [torch.tensor([True, True])])
    before = w[1].item()
    step([w], [torch.tensor([0.5, 0.0])], first, HELD)
    step([unheld], [torch.tensor([0.5, 0.0])], second)

    assert unheld.tolist() == pytest.approx([0.855, 0.905])
    assert w[0].item() == pytest.approx(0.855)
    assert w[1].item() == before == pytest.approx(0.95)


def line() -> nn.Linear:
    torch_line = nn.Linear(3, 2)
    nn.init.constant_(torch_line.weight, 0.1)
    nn.init.zeros_(torch_line.bias)
    return torch_line


def batch(seed: int) -> Batch:
    g = torch.Generator().manual_seed(seed)
    return Batch(torch.randn(6, 3, generator=g), torch.randn(6, 2, generator=g))


def pair(ask: Ask) -> Objective:
    f, r = batch(0), batch(1)
    o_f, o_r = ask(f, r)
    return Objective(retain=mse_loss(o_r, r.y), forget=-mse_loss(o_f, f.y), alpha=0.3)


def alone(seen: Callable[[], dict[str, Tensor]] = dict, factor: Callable[[], float] = lambda: 1.0):
    def objective(ask: Ask) -> Objective:
        return Objective(retain=ask(Batch(torch.ones(1, 3), torch.ones(1)))[0].sum() * factor(), seen=seen())

    return objective


@pytest.mark.parametrize("gate", GATES.values(), ids=GATES)
def test_held_coordinates_keep_their_bits_through_many_steps_of_adamw(gate):
    model = line()
    start = [w.detach().clone() for w in model.parameters()]
    moves = [torch.tensor([[True, False, True], [False, True, False]]), torch.tensor([False, True])]
    optimiser = AdamW(model.parameters(), 0.05, weight_decay=0.5)

    seen = descend(model, pair, optimiser, steps=9, progress=Progress(9), gate=gate(moves))

    assert seen["density"] == 0.5
    for w, before, m in zip(model.parameters(), start, moves, strict=True):
        assert torch.equal(w[~m], before[~m])
        assert (w[m] != before[m]).all()


@pytest.mark.parametrize("gate", GATES.values(), ids=GATES)
def test_a_gate_that_holds_nothing_changes_nothing(gate):
    free, gated = line(), line()
    moves = [torch.ones_like(w, dtype=torch.bool) for w in free.parameters()]

    for model, decides in ((free, None), (gated, gate(moves))):
        descend(model, pair, SGD(model.parameters(), 0.1), steps=3, progress=Progress(3), gate=decides)

    for a, b in zip(free.parameters(), gated.parameters(), strict=True):
        assert torch.allclose(a, b, atol=1e-6)


def test_a_share_scales_the_update():
    whole, half = line(), line()
    shares = [torch.full_like(w, 0.5) for w in half.parameters()]

    descend(whole, pair, SGD(whole.parameters(), 0.05), steps=1, progress=Progress(1))
    gate = Gate(lambda _: Decision(shares))
    descend(half, pair, SGD(half.parameters(), 0.1), steps=1, progress=Progress(1), gate=gate)

    for a, b in zip(whole.parameters(), half.parameters(), strict=True):
        assert torch.allclose(a, b, atol=1e-7)


def test_a_gate_is_shown_the_gradients_of_both_losses_and_their_estimates():
    model, shown = line(), list[Opposed]()

    def decide(both: Opposed) -> Decision:
        shown.append(both)
        return Decision([torch.ones_like(g, dtype=torch.bool) for g in both.forget])

    descend(model, pair, SGD(model.parameters(), 1e-9), steps=1, progress=Progress(1), gate=Gate(decide, micro=3))

    goal = pair(Ask(model))
    weights, (both,) = list(model.parameters()), shown
    for loss, whole, parts in (
        (goal.forget, both.forget, both.forget_parts), (goal.retain, both.retain, both.retain_parts)
    ):  # fmt: skip
        expected = torch.autograd.grad(loss, weights, retain_graph=True)
        means = [torch.stack(same).mean(dim=0) for same in zip(*parts, strict=True)]
        assert len(parts) == 3
        for g, m, e in zip(whole, means, expected, strict=True):
            assert torch.allclose(g, e, atol=1e-5)
            assert torch.allclose(m, e, atol=1e-5)
    assert both.alpha == 0.3


@pytest.mark.parametrize(("sign", "serves_both"), [(1.0, 1.0), (-1.0, 0.0)])
def test_the_log_says_whether_the_step_serves_both_losses(sign, serves_both):
    model = line()
    gate = Gate(lambda both: Decision([torch.ones_like(g, dtype=torch.bool) for g in both.forget]))

    def objective(ask: Ask) -> Objective:
        o, again = ask(batch(0), batch(0))
        return Objective(retain=o.sum(), forget=sign * again.sum(), alpha=0.3)

    seen = descend(model, objective, SGD(model.parameters(), 0.1), steps=2, progress=Progress(2), gate=gate)

    assert seen["feasible"] == serves_both


def test_a_mask_that_compares_needs_two_losses():
    model = line()

    with pytest.raises(BadInput, match="two gradients"):
        descend(
            model, alone(), SGD(model.parameters(), 0.1), steps=1, progress=Progress(1),
            gate=Gate(lambda _: Decision([])),
        )  # fmt: skip


def test_an_objective_without_a_loss_is_refused():
    with pytest.raises(BadInput, match="needs a loss"):
        _ = Objective().total


def test_the_total_weighs_both_losses_or_takes_the_one_there_is():
    r, f = torch.tensor(1.0), torch.tensor(3.0)

    assert Objective(retain=r, forget=f, alpha=0.25).total.item() == 1.5
    assert Objective(retain=r, alpha=0.25).total.item() == 1
    assert Objective(forget=f).total.item() == 3


def test_an_optimiser_of_another_model_is_refused():
    model = line()

    with pytest.raises(ValueError, match="other weights"):
        descend(model, alone(), SGD(line().parameters(), 0.1), steps=1, progress=Progress(1))


def test_a_weight_that_needs_no_gradient_never_moves():
    model = line()
    model.bias.requires_grad_(requires_grad=False)

    descend(model, alone(), SGD([model.weight], 0.1), steps=2, progress=Progress(2))

    assert model.bias.tolist() == [0, 0]


def test_the_rate_changes_with_every_step():
    model = line()
    optimiser = SGD(model.parameters(), 1.0)
    schedule = LambdaLR(optimiser, lambda done: 0.5**done)

    descend(model, alone(), optimiser, steps=3, progress=Progress(3), schedule=schedule)

    assert model.bias.tolist() == pytest.approx([-1.75, -1.75])


def test_the_log_is_the_mean_over_the_steps():
    model, values = line(), iter([1.0, 3.0])

    seen = descend(
        model, alone(lambda: {"mark": torch.tensor(next(values))}), SGD(model.parameters(), 0.1), steps=2,
        progress=Progress(2),
    )  # fmt: skip

    assert seen["mark"] == 2.0


def test_a_loss_that_is_not_finite_is_named_by_its_step():
    model, factors = line(), iter([1.0, 1.0, float("nan"), 1.0])

    with pytest.raises(Diverged) as caught:
        descend(
            model, alone(factor=lambda: next(factors)), SGD(model.parameters(), 0.1), steps=4,
            progress=Progress(14, done=10),
        )  # fmt: skip

    assert caught.value.step == 13


def test_who_watches_can_stop_a_run_within_one_step():
    def stop(done: int, _total: int) -> None:
        if done == 3:
            raise Cancelled("enough")

    model, progress = line(), Progress(9, stop)
    with pytest.raises(Cancelled):
        descend(model, alone(), SGD(model.parameters(), 0.1), steps=9, progress=progress)

    assert progress.done == 3
