r"""How sure is the sign of a gradient's coordinate? Three noise models, and what they say of two gradients at once.
Improving Unlearning with Model Updates Probably Aligned with Gradients. Dine, Furon, Faure. AISec 2025.
arXiv:2511.02435.

    ĝ_i ~ N(g_i, σ_i²),   z_i = ĝ_i / σ_i,   ψ_i = 2Φ(z_i) − 1 = erf(z_i/√2)
    f_i = P[g_U,i · g_C,i > 0 | ĝ_U, ĝ_C] = Φ(z_U)Φ(z_C) + (1 − Φ(z_U))(1 − Φ(z_C)) = ½ (1 + ψ_U ψ_C)

"paper": σ² is V + 1e-8 with V ← .9 ĝ² + .1 V, the first V being .1 ĝ², as in the authors' code. It weighs the newest
square most, so |z| ≤ 1/√.9 after the first step, and f is in [.2493, .7507]; the 1e-8 is a noise floor of 1e-4.

"adam" is ours: the second moment as Adam tracks it, .999 on the old, with its bias correction.

"sem" is our reading of the first author's later advice: σ is the standard error of the mean of k = 8 micro-batches.
With 8 the estimate of σ is itself uncertain by 1/√(2·7) = 27 %, as much as 16 would make 18 % for twice the passes.
Differs from that advice: z is not shrunk, because the factor needs E[ĝ²], which one step does not know.
"""

from math import sqrt
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from service.domain.recipes import Variance
from worker.gates import Opposed, Stateful
from worker.gradients import Gradients, flat
from worker.optimise import trainable

FLOOR = 1e-8    # inside the root
MICRO = 8       # k


class Noise(Stateful, Protocol):
    """The deviation of each coordinate of one objective's gradient."""

    def __call__(self, g: Tensor, parts: list[Gradients], /) -> Tensor:
        """(d,) z of a gradient (d,), of which the parts are independent estimates where there are any."""
        ...


class Squares:
    """V, a mean of squares that goes from step to step, whatever the epoch."""

    def __init__(self, model: nn.Module) -> None:
        self.V, self.t = torch.zeros_like(flat(trainable(model)).detach()), 0   # (d,)

    def follow(self, g: Tensor, *, old: float, new: float) -> None:
        """V ← old · V + new · g²; the square of the gradient at hand is in V from now on."""
        self.V.mul_(old).addcmul_(g, g, value=new)
        self.t += 1

    def state_dict(self) -> dict[str, Any]:
        """For a run that is taken up again."""
        return {"V": self.V, "t": self.t}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from there, on the device of this run."""
        self.V.copy_(state["V"])
        self.t = state["t"]


class NewestFirst(Squares):
    """"paper": V ← ρ g² + (1 − ρ) V with ρ = .9; the first V is (1 − ρ) g²."""

    rho = 0.9

    def __call__(self, g: Tensor, _parts: list[Gradients]) -> Tensor:
        self.follow(g, old=1 - self.rho, new=self.rho if self.t else 1 - self.rho)
        return g / (self.V + FLOOR).sqrt()


class BiasCorrected(Squares):
    """"adam": V ← β V + (1 − β) g², divided by 1 − βᵗ."""

    beta = 0.999

    def __call__(self, g: Tensor, _parts: list[Gradients]) -> Tensor:
        self.follow(g, old=self.beta, new=1 - self.beta)
        return g / (self.V / (1 - self.beta**self.t) + FLOOR).sqrt()


class StandardError:
    """"sem": the deviation of k estimates, over √k; a coordinate that is zero in all of them says nothing."""

    def __init__(self, _model: nn.Module) -> None: ...

    def __call__(self, g: Tensor, parts: list[Gradients]) -> Tensor:
        k, squares = len(parts), torch.zeros_like(g)
        for part in parts:
            squares += (flat(part) - g).square_()       # g is their mean
        return torch.where(g == 0, 0.0, g / (squares / (k * (k - 1))).sqrt_())

    def state_dict(self) -> dict[str, Any]:
        """It remembers nothing."""
        return {}

    def load_state_dict(self, _state: dict[str, Any]) -> None: ...


class Concord:
    """How much two gradients agree: 2f − 1, in [−1, 1]. Each objective has a noise of its own."""

    def __init__(self, variance: Variance, model: nn.Module) -> None:
        new = {"paper": NewestFirst, "adam": BiasCorrected, "sem": StandardError}[variance]
        self.forget: Noise = new(model)
        self.retain: Noise = new(model)
        self.micro = MICRO if variance == "sem" else 1

    def __call__(self, both: Opposed) -> Tensor:
        """(d,)"""
        z_U = self.forget(flat(both.forget), both.forget_parts)
        z_C = self.retain(flat(both.retain), both.retain_parts)
        return concord(z_U, z_C)

    def state_dict(self) -> dict[str, Any]:
        """For a run that is taken up again."""
        return {"forget": self.forget.state_dict(), "retain": self.retain.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from there."""
        self.forget.load_state_dict(state["forget"])
        self.retain.load_state_dict(state["retain"])


def concord(z_U: Tensor, z_C: Tensor) -> Tensor:
    """ψ_U ψ_C = 2f − 1: the sign of a small product is lost once ½ is added, so thresholds are compared with this."""
    return torch.erf(z_U / sqrt(2)) * torch.erf(z_C / sqrt(2))


def agreement(psi: Tensor) -> Tensor:
    """f, the probability that both true gradients have one sign."""
    return 0.5 * (1 + psi)
