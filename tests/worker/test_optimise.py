"""The one place where weights move."""

import pytest
import torch
from torch import nn
from torch.optim import SGD, Adam, AdamW

from service.errors import Cancelled, Diverged
from worker.gradients import gradients
from worker.optimise import Objective, Progress, descend, step

ONE = [0.5, 0.5]
HELD = [torch.tensor([True, False])]


def weight(values: list[float]) -> nn.Parameter:
    return nn.Parameter(torch.tensor(values))


def test_adam_cancels_a_constant_factor_of_the_gradient():
    plain, scaled = weight([0.0, 0.0]), weight([0.0, 0.0])

    step([plain], [torch.tensor([1.0, -2.0])], Adam([plain], 1e-4))
    step([scaled], [torch.tensor([0.75, -0.5])], Adam([scaled], 1e-4))

    assert plain.tolist() == pytest.approx([-1e-4, 1e-4], abs=1e-9)
    assert scaled.tolist() == pytest.approx([-1e-4, 1e-4], abs=1e-9)


@pytest.mark.parametrize(
    ("optimiser", "moved"), [(lambda w: SGD([w], 0.1, weight_decay=0.1), 0.94), (lambda w: AdamW([w], 0.1), 0.899)]
)
def test_weight_decay_does_not_move_a_held_weight(optimiser, moved):
    w = weight([1.0, 1.0])

    step([w], [torch.tensor([0.5, 0.0])], optimiser(w), HELD)

    assert w.tolist() == pytest.approx([moved, 1.0])
    assert w[1].item() == 1.0


def test_momentum_does_not_move_a_held_weight():
    w = weight([1.0, 1.0])
    optimiser = SGD([w], 0.1, momentum=0.9)

    step([w], [torch.tensor([0.5, 0.5])], optimiser, [torch.tensor([True, True])])
    assert w.tolist() == pytest.approx([0.95, 0.95])
    before = w[1].item()
    step([w], [torch.tensor([0.5, 0.0])], optimiser, HELD)

    assert w[0].item() == pytest.approx(0.855)
    assert w[1].item() == before


def line() -> nn.Linear:
    torch_line = nn.Linear(3, 2)
    nn.init.constant_(torch_line.weight, 0.1)
    nn.init.zeros_(torch_line.bias)
    return torch_line


def test_held_coordinates_keep_their_bits_through_many_steps_of_adamw():
    model, x = line(), torch.arange(6.0).reshape(2, 3)
    start = [w.detach().clone() for w in model.parameters()]
    moves = [torch.tensor([[True, False, True], [False, True, False]]), torch.tensor([False, True])]

    descend(
        model,
        lambda: Objective(retain=model(x).square().mean(), forget=model(x).mean(), alpha=0.3),
        AdamW(model.parameters(), 0.05, weight_decay=0.5),
        steps=9,
        progress=Progress(9),
        gate=lambda _u, _c: moves,
    )

    for w, before, m in zip(model.parameters(), start, moves, strict=True):
        assert torch.equal(w[~m], before[~m])
        assert (w[m] != before[m]).all()


def test_a_weight_that_needs_no_gradient_never_moves():
    model = line()
    model.bias.requires_grad_(requires_grad=False)

    descend(
        model,
        lambda: Objective(retain=model(torch.ones(1, 3)).square().sum()),
        SGD([model.weight], 0.1),
        steps=2,
        progress=Progress(2),
    )

    assert model.bias.tolist() == [0, 0]


def test_the_log_is_the_mean_over_the_steps():
    model, values = line(), iter([1.0, 3.0])

    seen = descend(
        model,
        lambda: Objective(retain=model(torch.ones(1, 3)).sum(), seen={"mark": torch.tensor(next(values))}),
        SGD(model.parameters(), 0.1),
        steps=2,
        progress=Progress(2),
    )

    assert seen["mark"] == 2.0


def test_a_loss_that_is_not_finite_is_named_by_its_step():
    model, factors = line(), iter([1.0, 1.0, float("nan"), 1.0])

    with pytest.raises(Diverged) as caught:
        descend(
            model,
            lambda: Objective(retain=model(torch.ones(1, 3)).sum() * next(factors)),
            SGD(model.parameters(), 0.1),
            steps=4,
            progress=Progress(14, done=10),
        )

    assert caught.value.step == 13


def test_who_watches_can_stop_a_run_within_one_step():
    model = line()

    def stop(done: int, _total: int) -> None:
        if done == 3:
            raise Cancelled("enough")

    progress = Progress(9, stop)
    with pytest.raises(Cancelled):
        descend(
            model,
            lambda: Objective(retain=model(torch.ones(1, 3)).sum()),
            SGD(model.parameters(), 0.1),
            steps=9,
            progress=progress,
        )

    assert progress.done == 3


def test_gradients_are_no_aliases_and_zero_where_nothing_depends():
    w, free = weight([1.0, 2.0]), weight([3.0])

    first = gradients((w**2).sum(), [w, free])
    second = gradients((3 * w).sum(), [w, free])

    assert first[0].tolist() == [2, 4]
    assert second[0].tolist() == [3, 3]
    assert first[1].tolist() == [0]
    assert w.grad is None
