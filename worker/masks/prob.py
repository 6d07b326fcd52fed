r"""Improving Unlearning with Model Updates Probably Aligned with Gradients. Dine, Furon, Faure. AISec 2025.
arXiv:2511.02435.

    m_i = 1[ f_i ≥ p ],   f_i = Φ(z_U) Φ(z_C) + (1 − Φ(z_U)) (1 − Φ(z_C)),   z = ĝ / √(V + 1e-8)

Differs from the paper: nothing in `variance="paper"`, whose tracker (.9 on the new square, from zero) bounds f to
[.2493, .7507] after the first step, so p outside that range holds nothing or everything; a weight that is held does
not move by momentum either. `variance="adam"` tracks E[g²] as Adam does, with its bias correction; that is ours.
"""

from dataclasses import dataclass, field
from math import sqrt

import torch
from torch import Tensor, nn

from service.domain.recipes import ProbMask
from worker.data import Split
from worker.gates import Decision, Gate, Opposed
from worker.gradients import Gradients
from worker.registry import mask

FLOOR = 1e-8    # inside the root, as in the paper: a noise floor of 1e-4 on every gradient


@mask(ProbMask)
def prob(p: ProbMask, _model: nn.Module, _data: Split) -> Gate:
    """Where the true gradients agree with probability ≥ p; each objective has its own tracker."""
    new = {"paper": NewestFirst, "adam": BiasCorrected}[p.variance]
    z_U, z_C = new(), new()

    def decide(both: Opposed) -> Decision:
        return Decision([agreement(u, c) >= p.p for u, c in zip(z_U(both.forget), z_C(both.retain), strict=True)])

    return Gate(decide)


def agreement(z_U: Tensor, z_C: Tensor) -> Tensor:
    """P[g_U · g_C > 0 | ĝ] = ½ (1 + ψ_U ψ_C), with ψ = 2Φ(z) − 1 = erf(z/√2)."""
    return 0.5 * (1 + torch.erf(z_U / sqrt(2)) * torch.erf(z_C / sqrt(2)))


@dataclass
class NewestFirst:
    """The paper's V ← ρ g² + (1 − ρ) V with ρ = .9; the first V is (1 − ρ) g²."""

    rho: float = 0.9
    squares: list[Tensor] = field(default_factory=list)     # V

    def __call__(self, g: Gradients) -> list[Tensor]:
        """z of each gradient; the square of the gradient at hand is already in V."""
        if self.squares:
            self.squares = [self.rho * x**2 + (1 - self.rho) * v for x, v in zip(g, self.squares, strict=True)]
        else:
            self.squares = [(1 - self.rho) * x**2 for x in g]
        return [x / (v + FLOOR).sqrt() for x, v in zip(g, self.squares, strict=True)]


@dataclass
class BiasCorrected:
    """V ← β V + (1 − β) g², divided by 1 − βᵗ."""

    beta: float = 0.999
    squares: list[Tensor] = field(default_factory=list)     # V
    t: int = 0

    def __call__(self, g: Gradients) -> list[Tensor]:
        """z of each gradient; the square of the gradient at hand is already in V."""
        self.t += 1
        before = self.squares or [torch.zeros_like(x) for x in g]
        self.squares = [self.beta * v + (1 - self.beta) * x**2 for x, v in zip(g, before, strict=True)]
        correction = 1 - self.beta**self.t
        return [x / (v / correction + FLOOR).sqrt() for x, v in zip(g, self.squares, strict=True)]
