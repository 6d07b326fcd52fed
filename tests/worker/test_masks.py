"""The masks against vectors worked out by hand."""

from statistics import NormalDist

import pytest
import torch
from torch import Tensor

from service.domain.recipes import AndMask, ProbMask
from worker.gradients import aggregate, feasible, inner, masked
from worker.masks.and_ import agree
from worker.masks.prob import BiasCorrected, NewestFirst, agreement
from worker.registry import mask

U = [torch.tensor([1.0, -2, 3, -4, 0])]
C = [torch.tensor([2.0, -1, -3, 4, 5])]
PAIRS = {
    (0, 0): 0.5, (0, 3): 0.5, (1, 1): 0.733032, (1, -1): 0.266968, (0.5, 0.5): 0.573316, (2, 0.3): 0.612546,
    (3, 3): 0.997304, (1, -0.2): 0.445890, (0.2, -0.2): 0.487436, (2.5, -2.5): 0.012342,
}  # fmt: skip


def f(a: float, b: float) -> float:
    return agreement(torch.tensor(a, dtype=torch.float64), torch.tensor(b, dtype=torch.float64)).item()


def test_and_keeps_what_does_not_oppose():
    assert agree(U, C)[0].tolist() == [True, True, False, False, True]


def test_and_does_not_take_underflow_for_agreement():
    tiny = torch.tensor([1e-30])

    assert not agree([tiny], [-tiny])[0].item()


def test_the_aggregate_is_the_weighted_sum():
    assert aggregate(U, C, alpha=0.05)[0].tolist() == pytest.approx([1.95, -1.05, -2.7, 3.6, 4.75])


def test_the_unmasked_aggregate_hurts_the_forget_objective_and_the_masked_one_does_not():
    update = aggregate(U, C, alpha=0.05)
    strict = [U[0] * C[0] > 0]

    assert inner(update, U).item() == pytest.approx(-18.45)
    assert inner(update, C).item() == pytest.approx(51.2)
    assert not feasible(update, U, C)
    assert inner(masked(update, strict), U).item() == pytest.approx(4.05)
    assert inner(masked(update, strict), C).item() == pytest.approx(4.95)
    assert feasible(masked(update, strict), U, C)


@pytest.mark.parametrize(("z", "expected"), PAIRS.items())
def test_the_probability_of_agreement(z, expected):
    assert f(*z) == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize(("a", "b"), PAIRS)
def test_agreement_is_symmetric(a, b):
    assert f(a, b) == pytest.approx(f(b, a))
    assert f(a, b) == pytest.approx(f(-a, -b))
    assert f(a, -b) == pytest.approx(1 - f(a, b))


@pytest.mark.parametrize(("a", "b"), PAIRS)
def test_agreement_is_the_product_of_normal_probabilities(a, b):
    phi = NormalDist().cdf

    assert f(a, b) == pytest.approx(phi(a) * phi(b) + (1 - phi(a)) * (1 - phi(b)), abs=1e-12)


@pytest.mark.parametrize(("p", "kept"), [(0.45, [0, 1, 1]), (0.5, [0, 0, 1]), (0.3, [1, 1, 1]), (0.75, [0, 0, 0])])
def test_the_threshold_is_a_probability(p, kept):
    z_U, z_C = torch.tensor([1.0, 0.2, 1.0]), torch.tensor([-0.2, -0.2, 1.0])

    assert (agreement(z_U, z_C) >= p).int().tolist() == kept


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_and_is_prob_at_one_half(dtype):
    g = torch.Generator().manual_seed(0)
    u, c = (torch.randn(100_000, generator=g, dtype=dtype) for _ in range(2))
    u[:1000] = 0
    s_U, s_C = (torch.rand(100_000, generator=g, dtype=dtype) + 0.1 for _ in range(2))

    assert torch.equal(agreement(u / s_U, c / s_C) >= 0.5, agree([u], [c])[0])


def follow(tracker: NewestFirst, values: list[float]) -> list[float]:
    return [tracker([torch.tensor(v, dtype=torch.float64)])[0].item() for v in values]


@pytest.mark.parametrize(
    ("values", "z"),
    [
        ([1, 1, 1], [3.162278, 1.048285, 1.004531]),
        ([1, 1, -1], [3.162278, 1.048285, -1.004531]),
        ([1e-4, 1e-4], [0.953463, 0.723575]),
    ],
)
def test_the_papers_variance(values, z):
    assert follow(NewestFirst(), values) == pytest.approx(z, abs=1e-6)


def test_a_gradient_below_the_noise_floor_says_little():
    assert follow(NewestFirst(), [1e-5] * 50)[-1] == pytest.approx(0.0996, abs=1e-4)


def test_the_papers_variance_bounds_the_probability():
    g = torch.Generator().manual_seed(0)
    z_U, z_C = NewestFirst(), NewestFirst()

    seen = [agreement(*(z([100 * torch.randn(1000, generator=g)])[0] for z in (z_U, z_C))) for _ in range(5)]

    assert torch.stack(seen[1:]).min() >= 0.249254 - 1e-6
    assert torch.stack(seen[1:]).max() <= 0.750746 + 1e-6


def test_the_bias_corrected_variance_of_a_constant_is_its_square():
    tracker = BiasCorrected()

    for _ in range(4):
        z = tracker([torch.tensor([2.0, -2.0])])[0]
        assert z.tolist() == pytest.approx([1, -1], abs=1e-4)


@pytest.mark.parametrize("variance", ["paper", "adam"])
def test_a_prob_gate_remembers_its_trackers_between_steps(variance):
    gate = mask.find(ProbMask(p=0.4, variance=variance))(ProbMask(p=0.4, variance=variance))
    u, c = [torch.tensor([1.0, 1.0])], [torch.tensor([1.0, -1.0])]
    expected: list[list[bool]] = [[True, False]] * 3

    assert [gate(u, c)[0].tolist() for _ in range(3)] == expected


def test_a_zero_gradient_passes_the_and_mask_without_nan():
    gate = mask.find(AndMask())(AndMask())
    nothing: list[Tensor] = [torch.zeros(3)]

    assert gate(nothing, nothing)[0].all()
    assert torch.isfinite(NewestFirst()(nothing)[0]).all()
