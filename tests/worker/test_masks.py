"""The masks against vectors worked out by hand, brute force, and a whole run of a method under each of them."""

from collections.abc import Callable
from itertools import product

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from torch import Tensor, nn
from torch.optim import AdamW

from service.domain.recipes import (
    AndMask,
    FocusMask,
    Mask,
    NablaTau,
    OptMask,
    ProbMask,
    RandomLabel,
    SaliencyMask,
    Scrub,
)
from worker.asking import Ask
from worker.data import Batch, Rows, Split
from worker.gates import Gate, Held, Opposed
from worker.gradients import aggregate, feasible, flat, inner, scaled, shaped
from worker.masks.and_ import agree
from worker.masks.opt import fewest
from worker.masks.saliency import largest, pull, steepest
from worker.optimise import Objective, Progress, descend
from worker.registry import mask
from worker.training import build
from worker.unlearning import unlearn

U, C = [torch.tensor([1.0, -2, 3, -4, 0])], [torch.tensor([2.0, -1, -3, 4, 5])]
EVERY: list[Mask] = [
    AndMask(), ProbMask(), ProbMask(variance="adam"), ProbMask(p=0.45, variance="sem"), FocusMask(),
    FocusMask(variance="sem"), SaliencyMask(), SaliencyMask(scope="batch"), OptMask(), OptMask(scope="global"),
]  # fmt: skip


def rng(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def drawn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=rng(seed), dtype=torch.float64)


def gate(p: Mask, model: nn.Module, split: Split) -> Gate:
    found = mask.find(p)(p, model, split)
    assert isinstance(found, Gate)
    return found


# --- and


def test_and_keeps_what_does_not_oppose():
    assert agree(Opposed(U, C, 0.05)).shares[0].tolist() == [True, True, False, False, True]


def test_and_does_not_take_underflow_for_agreement():
    tiny = torch.tensor([1e-30])

    assert not agree(Opposed([tiny], [-tiny], 0.5)).shares[0].item()


def test_the_aggregate_is_the_weighted_sum():
    assert aggregate(U, C, alpha=0.05)[0].tolist() == pytest.approx([1.95, -1.05, -2.7, 3.6, 4.75])


def test_the_unmasked_aggregate_hurts_the_forget_objective_and_the_masked_one_does_not():
    update = aggregate(U, C, alpha=0.05)
    strict = scaled(update, [U[0] * C[0] > 0])

    assert strict[0].tolist() == pytest.approx([1.95, -1.05, 0, 0, 0])
    assert (inner(update, U).item(), inner(update, C).item()) == pytest.approx((-18.45, 51.2))
    assert (inner(strict, U).item(), inner(strict, C).item()) == pytest.approx((4.05, 4.95))
    assert not feasible(update, U, C)
    assert feasible(strict, U, C)


def test_a_large_opposed_coordinate_is_held_though_the_sum_serves_it():
    u, c = [torch.tensor([1.0, 10])], [torch.tensor([1.0, -1])]
    update = aggregate(u, c, alpha=0.5)

    held = scaled(update, agree(Opposed(u, c, 0.5)).shares)

    assert update[0].tolist() == [1, 4.5]
    assert inner(update, c).item() == -3.5
    assert held[0].tolist() == [1, 0]
    assert (inner(held, u).item(), inner(held, c).item()) == (1, 1)


def parascandolo(gradients: Tensor, threshold: float) -> list[bool]:
    return (gradients.sign().mean(dim=0).abs() >= threshold).tolist()


def test_three_signs_against_one_agree_by_one_half():
    signs = torch.tensor([[1.0], [1], [1], [-1]])

    assert [parascandolo(signs, t) for t in (0.49, 0.5, 0.51)] == [[True], [True], [False]]


@pytest.mark.parametrize("threshold", [0.01, 0.5, 1.0])
def test_and_of_two_gradients_is_the_and_mask_of_many(threshold):
    u, c = drawn(200), drawn(200, seed=1)

    assert agree(Opposed([u], [c], 0.5)).shares[0].tolist() == parascandolo(torch.stack([u, c]), threshold)


def test_and_with_plain_descent_is_feasible_coordinate_by_coordinate():
    u, c = [drawn(50)], [drawn(50, seed=1)]

    update = scaled(aggregate(u, c, 0.3), agree(Opposed(u, c, 0.3)).shares)[0]

    assert (update * u[0] >= 0).all()
    assert (update * c[0] >= 0).all()


# --- opt


def conditions(keep: Tensor, u: Tensor, c: Tensor, alpha: float) -> bool:
    step = keep * (alpha * u + (1 - alpha) * c)
    return bool(step @ u >= -1e-12) and bool(step @ c >= -1e-12)


def test_opt_holds_nothing_where_the_sum_just_serves_both():
    g_1, g_2 = torch.tensor([-3.0, -2, -2]), torch.tensor([1.0, 1, 3])
    update = g_1 + g_2

    assert (update @ g_1, update @ g_2) == (6, 0)
    assert fewest(g_1, g_2, 0.5).all()


@pytest.mark.parametrize(("dropped", "products"), [(0, (0, 2)), (1, (4, 1)), (2, (8, -3))])
def test_the_counter_example_to_the_greedy_order(dropped, products):
    g_1, g_2 = torch.tensor([-3.0, -2, -2]), torch.tensor([1.0, 1, 3])
    left = g_1 + g_2
    left[dropped] = 0

    assert (left @ g_1, left @ g_2) == products     # greedy would begin with the third, which fails alone


@pytest.mark.parametrize("seed", range(30))
def test_opt_holds_the_shortest_run_of_most_opposed_coordinates(seed):
    u, c, alpha = drawn(9, seed=seed), drawn(9, seed=seed + 100) - 0.5 * drawn(9, seed=seed), (seed + 1) / 32

    order = (u * c).argsort()
    runs = [torch.ones(9).double().index_fill(0, order[:n], 0) for n in range(10)]
    shortest = next(keep for keep in runs if conditions(keep, u, c, alpha))

    assert fewest(u, c, alpha).tolist() == shortest.bool().tolist()


def test_opt_skips_a_tensor_whose_coordinates_cannot_serve_both():
    u = torch.tensor([1.0, 2, -1])

    assert not fewest(u, -0.1 * u, 0.05).any()


@pytest.mark.parametrize("alpha", [0.0, 1.0])
def test_opt_of_one_objective_alone_still_serves_the_other(alpha):
    u, c = drawn(40), drawn(40, seed=1) - 2 * drawn(40)

    assert conditions(fewest(u, c, alpha), u, c, alpha)


@pytest.mark.parametrize("seed", range(10))
def test_opt_never_holds_a_coordinate_that_agrees(seed):
    u, c = drawn(60, seed=seed), drawn(60, seed=seed + 50) - drawn(60, seed=seed)

    assert fewest(u, c, 0.2)[u * c >= 0].all()


def test_opt_decides_by_tensor_or_over_all(original, split):
    u, c = [torch.tensor([[1.0], [1]]), torch.tensor([1.0])], [torch.tensor([[4.0], [4]]), torch.tensor([-1.0])]

    by_tensor, over_all = (
        gate(OptMask(scope=scope), original, split).decide(Opposed(u, c, 0.2)).shares for scope in ("tensor", "global")
    )

    assert [m.tolist() for m in by_tensor] == [[[True], [True]], [False]]
    assert [m.tolist() for m in over_all] == [[[True], [True]], [True]]


# --- saliency


def test_the_largest_half_of_all_weights():
    assert largest(torch.tensor([0.1, 0.4, 0.2, 0.3]), 0.5).tolist() == [False, True, False, True]


def test_as_many_weights_move_as_the_recipe_says_though_many_are_equal():
    assert largest(torch.zeros(10), 0.3).sum() == 3
    assert largest(torch.zeros(10), 0.01).sum() == 1


class Slope(nn.Module):
    """Regression whose gradient at w = 0 is −2y·x."""

    def __init__(self) -> None:
        super().__init__()
        self.w = nn.Parameter(torch.zeros(2, 1))

    def forward(self, x: Tensor) -> Tensor:
        return x @ self.w


def test_signed_gradients_are_added_before_their_size_is_taken():
    rows = Rows(torch.tensor([[1.0, 0.2], [-1.0, 0.2]]), torch.tensor([-0.5, -0.5]))

    g = pull(Slope(), rows)[0].flatten()

    assert g.tolist() == pytest.approx([0, 0.4])
    assert largest(g.abs(), 0.5).tolist() == [False, True]


def test_saliency_is_taken_over_all_forget_rows_at_rest(original, split):
    original.train()
    p = SaliencyMask(keep=0.25)

    held = mask.find(p)(p, original, split)

    assert isinstance(held, Held)
    assert original.training
    loss = nn.functional.cross_entropy(original.eval()(split.forget.x), split.forget.y)
    g = flat(torch.autograd.grad(loss, list(original.parameters()))).abs()
    moves = flat(held.moves)
    assert moves.sum() == len(g) // 4
    assert g[moves].min() >= g[~moves].max() - 1e-6


def test_saliency_in_chunks_is_that_of_all_rows(original, split, monkeypatch):
    whole = flat(pull(original, split.forget))
    monkeypatch.setattr("worker.masks.saliency.CHUNK", 7)

    assert torch.allclose(flat(pull(original, split.forget)), whole, atol=1e-5)


@pytest.mark.parametrize(("n", "keep"), list(product([1, 2, 3, 4, 11, 100], [0.1, 0.3, 0.5, 0.7, 0.99])))
def test_a_batch_moves_what_is_above_the_midpoint_quantile(n, keep):
    g = drawn(n)
    threshold = np.quantile(g.abs().numpy(), round(1 - keep, 9), method="midpoint")

    assert steepest(g, keep).tolist() == (g.abs().numpy() >= threshold).tolist()


def test_the_quantile_of_a_batch_counts_equal_gradients_alike():
    assert steepest(torch.tensor([[0.0, 1.0], [-1.0, 1.0]]), 0.5).tolist() == [[False, True], [True, True]]
    assert steepest(torch.zeros(4), 0.5).all()


def test_the_quantile_of_a_batch_is_that_of_the_plain_loss(original, split):
    decide = gate(SaliencyMask(scope="batch"), original, split).decide
    plain = [torch.tensor([1.0, 3.0])]

    moves = decide(Opposed([torch.tensor([9.0, 0])], [torch.ones(2)], 0.5, plain=plain)).shares

    assert moves[0].tolist() == [False, True]


# --- on a model


@pytest.mark.parametrize("p", EVERY, ids=repr)
def test_a_mask_shows_itself_in_the_log_of_a_run(p, original, split):
    log = unlearn(original, split, NablaTau(mask=p, passes=1, batch=32), rng=rng()).log

    assert all(0 < entry["density"] <= 1 for entry in log)
    if p.name in ("prob", "focus"):
        assert all(0 < entry["focus"] < 1 for entry in log)


def opposed_losses(model: nn.Module, split: Split) -> Callable[[Ask], Objective]:
    """Forget and retain rows both push the outputs to and fro, and the batches are small enough to be of many minds."""

    def objective(ask: Ask) -> Objective:
        f, r = (Batch(part.x[:24], part.y[:24]) for part in (split.forget, split.retain))
        o_f, o_r = ask(f, r)
        ascent = -f.losses(o_f).mean()
        return Objective(retain=r.losses(o_r).mean(), forget=ascent, alpha=0.1, plain=-ascent)

    return objective


@pytest.mark.parametrize("p", EVERY, ids=repr)
def test_the_mask_decides_what_moves(p, spec, split):
    model = build(spec, rng())
    start = flat([w.detach().clone() for w in model.parameters()])
    optimiser, found = AdamW(model.parameters(), 0.01), mask.find(p)(p, model, split)

    seen = descend(model, opposed_losses(model, split), optimiser, steps=1, progress=Progress(1), gate=found)

    moved = (flat([w.detach() for w in model.parameters()]) != start).float().mean()
    assert moved == pytest.approx(seen["density"])
    assert moved == 1 if p.name == "focus" else 0 < moved < 1


@pytest.mark.parametrize("p", EVERY, ids=repr)
def test_three_rows_are_enough_for_a_mask(p, original, split):
    few = Split(split.retain, split.forget.take(torch.arange(3)), split.validation)

    after = unlearn(original, few, NablaTau(mask=p, passes=0.01), rng=rng())

    assert all(torch.isfinite(w).all() for w in after.model.parameters())


@pytest.mark.parametrize("p", [SaliencyMask(scope="batch"), AndMask(), OptMask()], ids=repr)
@pytest.mark.parametrize("recipe", [RandomLabel, Scrub])
def test_a_mask_that_needs_both_gradients_needs_paired_batches(p, recipe):
    with pytest.raises(ValidationError, match="order=paired"):
        recipe(order="sequential", mask=p)

    assert recipe(order="paired", mask=p).mask == p
    assert recipe(order="sequential", mask=SaliencyMask()).mask == SaliencyMask()


def test_shapes_survive_being_flat():
    held = [drawn(2, 3), drawn(4), drawn(1, 1, 2)]

    assert all(torch.equal(a, b) for a, b in zip(shaped(flat(held), held), held, strict=True))
