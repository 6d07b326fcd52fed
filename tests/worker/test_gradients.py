"""Gradients as lists of tensors, against autograd and by hand."""

import pytest
import torch
from torch import Tensor, nn

from worker.gradients import feasible, flat, gradients, gradients_by_part, inner, scaled, shaped


def weight(values: list[float]) -> nn.Parameter:
    return nn.Parameter(torch.tensor(values))


def drawn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_gradients_are_no_aliases_and_zero_where_nothing_depends():
    w, free = weight([1.0, 2.0]), weight([3.0])

    first = gradients((w**2).sum(), [w, free])
    second = gradients((3 * w).sum(), [w, free])

    assert first[0].tolist() == [2, 4]
    assert second[0].tolist() == [3, 3]
    assert first[1].tolist() == [0]
    assert w.grad is None


def test_what_was_saved_from_grad_is_overwritten_and_what_we_took_is_not():
    w, saved = weight([0.0, 0.0]), list[Tensor]()

    for slope in ([1.0, 2.0], [3.0, 4.0]):
        (w * torch.tensor(slope)).sum().backward()
        saved.append(w.grad)
        torch.optim.SGD([w], 0.1).zero_grad(set_to_none=False)
    taken = [gradients((w * torch.tensor(slope)).sum(), [w])[0] for slope in ([1.0, 2.0], [3.0, 4.0])]

    assert saved[0] is saved[1]
    assert [g.tolist() for g in taken] == [[1, 2], [3, 4]]


def test_a_loss_that_depends_on_nothing_has_no_gradient():
    assert gradients(torch.tensor(3.0), [weight([1.0, 2.0])])[0].tolist() == [0, 0]


def test_a_graph_is_walked_again_only_if_it_is_kept():
    w = weight([2.0])
    loss = (w**2).sum()

    assert gradients(loss, [w], keep=True)[0].item() == gradients(loss, [w])[0].item() == 4
    with pytest.raises(RuntimeError, match="second time"):
        gradients(loss, [w])


@pytest.mark.parametrize("sizes", [[4, 4, 4], [5, 4, 3], [1, 11, 0]])
def test_micro_batches_estimate_the_gradient_of_which_they_are_the_parts(sizes):
    x, w = drawn(12, 3), nn.Parameter(drawn(3, 2, seed=1))
    parts = [part @ w for part in x.split(sizes)]
    loss = torch.relu(2 - torch.cat(parts).square().mean()) ** 2       # no sum over rows

    whole, each = gradients_by_part(loss, [w], parts)

    (expected,) = torch.autograd.grad(torch.relu(2 - (x @ w).square().mean()) ** 2, [w])
    assert torch.allclose(whole[0], expected)
    assert torch.allclose(torch.stack([one[0] for one in each]).mean(dim=0), expected)


def test_micro_batches_are_the_gradients_of_their_own_rows():
    x, w = drawn(6, 3), nn.Parameter(drawn(3, seed=1))
    parts = [part @ w for part in x.split(2)]

    _, each = gradients_by_part(torch.cat(parts).square().mean(), [w], parts)

    for part, one in zip(x.split(2), each, strict=True):
        (expected,) = torch.autograd.grad((part @ w).square().mean(), [w])
        assert torch.allclose(one[0], expected)


def test_the_inner_product_is_over_all_weights():
    a, b = [torch.tensor([[1.0, 2]]), torch.tensor([3.0])], [torch.tensor([[4.0, -1]]), torch.tensor([2.0])]

    assert inner(a, b).item() == 8


@pytest.mark.parametrize(
    ("update", "serves"), [([1.0, 1], True), ([-1.0, 0], False), ([0.0, -1], False), ([0.0, 0], True)]
)
def test_a_step_is_feasible_if_it_raises_neither_loss(update, serves):
    u, c = [torch.tensor([1.0, 0])], [torch.tensor([0.0, 1])]

    assert bool(feasible([torch.tensor(update)], u, c)) == serves


def test_a_held_coordinate_is_exactly_zero_even_of_a_gradient_that_is_not_finite():
    g = [torch.tensor([float("inf"), 2.0])]

    assert scaled(g, [torch.tensor([False, True])])[0].tolist() == [0, 2]
    assert scaled([torch.tensor([4.0, 2.0])], [torch.tensor([0.5, 0.25])])[0].tolist() == [2, 0.5]


def test_coordinates_stay_in_order_whatever_the_memory_format():
    pictures = drawn(2, 3, 4, 5)
    last = pictures.to(memory_format=torch.channels_last)

    assert torch.equal(flat([last]), flat([pictures]))
    assert torch.equal(shaped(flat([last, drawn(2)]), [last, drawn(2)])[0], pictures)
