"""The noise models against vectors worked out by hand, and the two masks that are made of them."""

from statistics import NormalDist

import pytest
import torch
from pydantic import ValidationError
from torch import Tensor, nn

from service.domain.recipes import FocusMask, NablaTau, ProbMask, Variance
from worker.data import Split
from worker.gates import Gate, Opposed
from worker.masks.and_ import agree
from worker.registry import mask
from worker.unlearning import unlearn
from worker.variances import MICRO, BiasCorrected, Concord, NewestFirst, StandardError, agreement, concord

PAIRS = {
    (0, 0): 0.5, (0, 3): 0.5, (1, 1): 0.733032, (1, -1): 0.266968, (0.5, 0.5): 0.573316, (2, 0.3): 0.612546,
    (3, 3): 0.997304, (1, -0.2): 0.445890, (0.2, -0.2): 0.487436, (2.5, -2.5): 0.012342,
}  # fmt: skip


def rng(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def weights(n: int, dtype: torch.dtype = torch.float32) -> nn.Module:
    return nn.ParameterList([nn.Parameter(torch.zeros(n, dtype=dtype))])


def gate(p: ProbMask | FocusMask, n: int, split: Split, dtype: torch.dtype = torch.float32) -> Gate:
    found = mask.find(p)(p, weights(n, dtype), split)
    assert isinstance(found, Gate)
    return found


def f(a: float, b: float) -> float:
    return agreement(concord(*(torch.tensor(z, dtype=torch.float64) for z in (a, b)))).item()


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


# --- the papers' variance


def follow(tracker: NewestFirst | BiasCorrected, values: list[float]) -> list[float]:
    return [tracker(torch.tensor([v], dtype=torch.float64), []).item() for v in values]


@pytest.mark.parametrize(
    ("values", "z"),
    [
        ([1, 1, 1], [3.162278, 1.048285, 1.004531]),
        ([1, 1, -1], [3.162278, 1.048285, -1.004531]),
        ([1e-4, 1e-4], [0.953463, 0.723575]),
    ],
)
def test_the_papers_variance(values, z):
    assert follow(NewestFirst(weights(1, torch.float64)), values) == pytest.approx(z, abs=1e-6)


def test_the_papers_second_moment():
    tracker, seen = NewestFirst(weights(1)), list[float]()

    for _ in range(3):
        tracker(torch.ones(1), [])
        seen.append(tracker.V.item())

    assert seen == pytest.approx([0.1, 0.91, 0.991])


def test_a_gradient_below_the_noise_floor_says_little():
    z = follow(NewestFirst(weights(1, torch.float64)), [1e-5] * 50)

    assert z[-1] == pytest.approx(0.0996, abs=1e-4)


def test_the_papers_variance_bounds_the_probability(split):
    decide = gate(FocusMask(), 1000, split).decide

    u, c = (100 * torch.randn(5, 1000, generator=rng(seed)) for seed in (1, 2))
    seen = torch.stack([decide(Opposed([a], [b], 0.5)).shares[0] for a, b in zip(u, c, strict=True)])

    assert seen[0].max() > 0.99
    assert seen[1:].min() >= 0.249254 - 1e-6
    assert seen[1:].max() <= 0.750746 + 1e-6


@pytest.mark.parametrize("p", [0.7508, 0.9])
def test_a_threshold_that_the_papers_variance_cannot_reach_is_refused(p):
    with pytest.raises(ValidationError, match="holds every weight"):
        ProbMask(p=p)

    assert ProbMask(p=p, variance="sem").p == p
    assert ProbMask(p=0.75).p == 0.75


# --- the other two


def test_the_bias_corrected_variance_of_a_constant_is_its_square():
    assert follow(BiasCorrected(weights(1, torch.float64)), [2, 2, -2, 2]) == pytest.approx([1, 1, -1, 1], abs=1e-8)


def test_the_bias_corrected_variance_is_that_of_adam():
    w = nn.Parameter(torch.zeros(4))
    adam, tracker = torch.optim.Adam([w], 1.0, betas=(0.0, 0.999), eps=0.0), BiasCorrected(weights(4))

    for g in torch.randn(6, 4, generator=rng()):
        before, w.grad = w.detach().clone(), g.clone()
        adam.step()
        assert tracker(g, []).tolist() == pytest.approx((before - w.detach()).tolist(), rel=1e-4)


def test_the_standard_error_of_micro_batches():
    parts = [[torch.tensor(row)] for row in ([1.0, 2], [3.0, 2], [2.0, -4], [2.0, 0])]

    z = StandardError(weights(2))(torch.tensor([2.0, 0]), parts)

    assert z.tolist() == pytest.approx([4.898979, 0], abs=1e-5)


def test_no_gradient_and_no_noise_say_nothing():
    parts = [[torch.tensor([0.0, 1.0])]] * 4
    noise = StandardError(weights(2))

    z = noise(torch.tensor([0.0, 1.0]), parts)

    assert z[0] == 0
    assert agreement(concord(z, z)).tolist() == [0.5, 1]


def test_the_standard_error_holds_what_is_noise_and_moves_what_is_signal(split):
    decide = gate(ProbMask(p=0.6, variance="sem"), 2, split).decide
    sure, unsure = [1.0, 1.1, 0.9, 1.0], [5.0, -4.5, -5.0, 4.7]
    parts = [[torch.tensor(pair)] for pair in zip(sure, unsure, strict=True)]
    mean = [torch.stack([part[0] for part in parts]).mean(dim=0)]

    decision = decide(Opposed(mean, mean, 0.5, forget_parts=parts, retain_parts=parts))

    assert decision.shares[0].tolist() == [True, False]


@pytest.mark.parametrize(("variance", "micro"), [("paper", 1), ("adam", 1), ("sem", MICRO)])
def test_only_the_standard_error_cuts_batches(variance, micro, split):
    assert [gate(p(variance=variance), 1, split).micro for p in (ProbMask, FocusMask)] == [micro, micro]


# --- prob and focus


@pytest.mark.parametrize(("p", "kept"), [(0.45, [0, 1, 1]), (0.5, [0, 0, 1]), (0.3, [1, 1, 1]), (0.75, [0, 0, 0])])
def test_the_threshold_is_a_probability(p, kept):
    psi = concord(torch.tensor([1.0, 0.2, 1.0]), torch.tensor([-0.2, -0.2, 1.0]))

    assert (psi >= 2 * p - 1).int().tolist() == (agreement(psi) >= p).int().tolist() == kept


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("variance", ["paper", "adam"])
@pytest.mark.parametrize("size", [1.0, 1e-4, 1e-9])
def test_and_is_prob_at_one_half(dtype, variance, size, split):
    decide = gate(ProbMask(p=0.5, variance=variance), 100_000, split, dtype).decide
    u, c = (size * torch.randn(100_000, generator=rng(seed), dtype=dtype) for seed in (0, 1))
    u[:1000] = 0
    both = Opposed([u], [c], 0.5)

    for _ in range(2):
        assert torch.equal(decide(both).shares[0], agree(both).shares[0])


def test_and_is_prob_at_one_half_whatever_the_noise():
    u, c, s_U, s_C = (torch.randn(100_000, generator=rng(seed)) for seed in range(4))
    psi = concord(u / (s_U.abs() + 0.1), c / (s_C.abs() + 0.1))

    assert torch.equal(psi >= 0, agree(Opposed([u], [c], 0.5)).shares[0])


def test_focus_is_the_probability_and_prob_its_threshold(split):
    u, c = [torch.tensor([[1.0, 1.0]]), torch.tensor([0.0])], [torch.tensor([[1.0, -1.0]]), torch.tensor([1.0])]

    soft, hard = (
        gate(p, 3, split).decide(Opposed(u, c, 0.5)) for p in (FocusMask(variance="adam"), ProbMask(variance="adam"))
    )

    assert soft.shares[0].flatten().tolist() == pytest.approx([0.733032, 0.266968], abs=1e-6)
    assert soft.shares[1].item() == 0.5
    assert [m.tolist() for m in hard.shares] == [[[True, False]], [True]]
    assert soft.seen["focus"].item() == hard.seen["focus"].item() == pytest.approx(0.5)


@pytest.mark.parametrize("variance", ["paper", "adam"])
def test_a_gate_remembers_its_trackers_between_steps(variance, split):
    decide = gate(ProbMask(p=0.4, variance=variance), 2, split).decide
    both = Opposed([torch.tensor([1.0, 1.0])], [torch.tensor([1.0, -1.0])], 0.5)

    assert [decide(both).shares[0].tolist() for _ in range(3)] == [[True, False]] * 3


@pytest.mark.parametrize("variance", ["paper", "adam", "sem"])
def test_trackers_go_on_where_they_were_saved(variance: Variance):
    steps = torch.randn(6, 2, 2, 3, generator=rng())

    def go(one: Concord, values: Tensor) -> list[list[float]]:
        pairs = [(list(u), list(c)) for u, c in values]
        opposed = [Opposed([u[0]], [c[0]], 0.5, [], [[x] for x in u], [[x] for x in c]) for u, c in pairs]
        return [one(both).tolist() for both in opposed]

    whole, first, second = (Concord(variance, weights(3)) for _ in range(3))
    expected = go(whole, steps)[3:]
    go(first, steps[:3])
    second.load_state_dict(first.state_dict())

    assert go(second, steps[3:]) == expected


@pytest.mark.parametrize("variance", ["paper", "adam", "sem"])
def test_a_run_that_is_taken_up_again_has_the_same_trackers(variance, original, split, tmp_path):
    method = NablaTau(mask=ProbMask(variance=variance), passes=2, batch=40)
    whole = unlearn(original, split, method, rng=rng())

    def stop(done: int, _total: int) -> None:
        if done == 6:
            raise InterruptedError

    with pytest.raises(InterruptedError):
        unlearn(original, split, method, rng=rng(), snapshot=tmp_path / "s", on_step=stop)
    again = unlearn(original, split, method, rng=rng(), snapshot=tmp_path / "s")

    assert again.log == whole.log
    assert all(torch.equal(a, b) for a, b in zip(again.model.parameters(), whole.model.parameters(), strict=True))


def test_a_zero_gradient_passes_without_nan(split):
    nothing = [torch.zeros(3)]

    for p in (ProbMask(p=0.5), FocusMask()):
        share = gate(p, 3, split).decide(Opposed(nothing, nothing, 0.5)).shares[0]
        assert share.tolist() == ([1, 1, 1] if p.name == "prob" else [0.5, 0.5, 0.5])
