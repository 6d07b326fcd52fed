r"""∇τ: Gradient-based and Task-Agnostic machine Unlearning. Trippa, Campagnano, Bucarelli, Tolomei, Silvestri.
ICML 2024 workshop NextGenAISafety. arXiv:2403.14339.

    L = α · ReLU(τ − L_f)² + (1 − α) · L_r,     τ = mean loss on D_v,   α_e = α₀ (1 − e/E),   α₀ = 5/3 · |D_f|/|D|

`target="mean"` is the paper's. Differs from it: α₀ ≤ 1; a retain set shorter than the forget set is begun anew.

`target="quantile"` is ours, not the paper's. A mean can be matched by a distribution that is easily told apart; here
the i-th smallest of the n losses of a forget batch is led to the ((i+½)/n)-quantile q_i of the losses on D_v:

    L = α · mean_i ρ(q_i − ℓ_(i)) + (1 − α) · L_r,     ρ(g) = ReLU(g) + ¼ ReLU(−g),     α_e = α₀ √(1 − e/E)

The quarter leads back what the ascent has thrown too far: without it a lone patient's loss ended far above what a
retrained model gave, and a loss that stands out above is as telling as one that stands out below.
A q_i never rises above what the original model gave: a model that breaks raises its own target, and ruin feeds itself.
Limits: ranks know nothing of a row's difficulty, so a few rows are led to the middle of the unseen losses whatever a
retrained model would say of them; and a loss that is zero in floats has no gradient, so it stays.
"""

from collections.abc import Callable, Iterator
from typing import Protocol

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, relu
from torch.optim import AdamW
from torch.optim.lr_scheduler import LinearLR

from service.domain.recipes import NablaTau
from worker.data import Split, batches, count
from worker.inference import losses
from worker.optimise import Objective, Progress, descend, trainable
from worker.registry import mask, method
from worker.unlearning import Run

# The defaults of the quantile target are one choice for vectors and pictures: from α₀ of .3 to .9, rates of ½ to 3e-3,
# exponents of 0, ½ and 1, by forget-vs-validation AUC and accuracy on other splits of the hospital and Fashion-MNIST.
LR = {"mean": 1e-3, "quantile": 2e-3}
ALPHA0 = 0.5
DECAY = {"mean": 1.0, "quantile": 0.5}
RETURN = 0.25
Batches = Iterator[tuple[Tensor, Tensor]]


class Target(Protocol):
    """Where the losses of the forget rows shall go."""

    def look(self, unseen: Tensor, /) -> None: ...
    def shortfall(self, losses: Tensor, /) -> tuple[Tensor, Tensor]: ...
    def log(self) -> dict[str, float]: ...


@method(NablaTau)
def nabla_tau(model: nn.Module, data: Split, p: NablaTau, run: Run) -> None:
    """E forget-epochs; each forget batch is met by the next retain batch."""
    F, R = count(len(data.forget), p.batch), count(len(data.retain), p.batch)
    E = epochs(R, F, p.passes)
    target, gate, progress = TARGETS[p.target](), mask.find(p.mask)(p.mask), Progress(E * F, run.on_step)
    optimiser = AdamW(trainable(model), p.lr or LR[p.target])
    schedule = LinearLR(optimiser, 1.0, 0.1, total_iters=E)
    D_f = D_r = batches(data.forget, run.rng, p.batch)
    for e, alpha in enumerate(alphas(first_alpha(p, data), E, DECAY[p.target])):
        if e % p.refresh == 0:
            target.look(losses(model, data.validation))
        if e % restart(R, F) == 0:
            D_r = batches(data.retain, run.rng, p.batch)
        loss = objective(model, target, alpha, D_f, D_r)
        seen = descend(model, loss, optimiser, steps=F, progress=progress, gate=gate)
        schedule.step()
        run.log.append({"epoch": e, "alpha": alpha, **target.log(), **seen})


def objective(model: nn.Module, target: Target, alpha: float, D_f: Batches, D_r: Batches) -> Callable[[], Objective]:
    """The loss of one step, on fresh batches."""

    def loss() -> Objective:
        (x_f, y_f), (x_r, y_r) = next(D_f), next(D_r)
        l_f, L_r = cross_entropy(model(x_f), y_f, reduction="none"), cross_entropy(model(x_r), y_r)
        shortfall, active = target.shortfall(l_f)
        seen = {"forget_loss": l_f.detach().mean(), "retain_loss": L_r.detach(), "active": active}
        return Objective(retain=L_r, forget=shortfall, alpha=alpha, seen=seen)

    return loss


class Mean:
    """τ, the mean loss of the unseen rows, as published."""

    def __init__(self) -> None:
        self.tau = 0.0

    def look(self, unseen: Tensor) -> None:
        """Every row counts the same, whatever batch it came in."""
        self.tau = unseen.mean().item()

    def shortfall(self, losses: Tensor) -> tuple[Tensor, Tensor]:
        """ReLU(τ − L_f)², and whether the ReLU is open."""
        gap = self.tau - losses.mean()
        return relu(gap) ** 2, (gap.detach() > 0).float()

    def log(self) -> dict[str, float]:
        """What the forget losses are aimed at."""
        return {"tau": self.tau}


class Quantiles:
    """The sorted losses of the unseen rows, none above what the original model gave."""

    def __init__(self) -> None:
        self.sorted: Tensor | None = None
        self.original: Tensor | None = None

    def look(self, unseen: Tensor) -> None:
        """The first look is at the original model, whose losses bound all later ones."""
        now = unseen.sort().values
        self.original = now if self.original is None else self.original
        self.sorted = torch.minimum(self.original, now)

    def shortfall(self, losses: Tensor) -> tuple[Tensor, Tensor]:
        """mean_i ρ(q_i − ℓ_(i)), and the share of rows below their target."""
        gap = quantiles(self._known(), len(losses)) - losses.sort().values
        return (relu(gap) + RETURN * relu(-gap)).mean(), (gap.detach() > 0).float().mean()

    def log(self) -> dict[str, float]:
        """What the forget losses are aimed at."""
        known = self._known()
        return {"tau": known.mean().item(), "tau_median": quantiles(known, 1).item()}

    def _known(self) -> Tensor:
        if self.sorted is None:
            raise RuntimeError("a target is looked at before it is used")
        return self.sorted


TARGETS: dict[str, Callable[[], Target]] = {"mean": Mean, "quantile": Quantiles}


def quantiles(ascending: Tensor, n: int) -> Tensor:
    """(n,) the (i+½)/n-quantiles of sorted values, linear between neighbours."""
    place = (torch.arange(n, device=ascending.device) + 0.5) / n * (len(ascending) - 1)
    low = place.floor().long()
    high = (low + 1).clamp(max=len(ascending) - 1)
    return torch.lerp(ascending[low], ascending[high], place - low)


def epochs(R: int, F: int, passes: float) -> int:
    """E = ⌊passes · R/F⌋ forget-epochs, one at least; the paper's ⌊6R/2F⌋ has passes = 3."""
    return max(1, int(passes * R / F))


def restart(R: int, F: int) -> int:
    """Forget-epochs after which the retain rows are shuffled and begun anew."""
    return max(1, R // F)


def first_alpha(p: NablaTau, data: Split) -> float:
    """α₀: the paper's rule of thumb for the mean, a constant for the quantiles."""
    if p.alpha0 is not None:
        return p.alpha0
    return paper_alpha(len(data.forget), len(data.retain)) if p.target == "mean" else ALPHA0


def paper_alpha(forget: int, retain: int) -> float:
    """5/3 of the share of rows to be forgotten, one at most: beyond it the retain loss would be raised."""
    return min(1.0, 5 / 3 * forget / (forget + retain))


def alphas(first: float, E: int, decay: float) -> list[float]:
    """α₀ (1 − e/E)^decay, the same during a forget-epoch; the paper's decay is 1."""
    return [first * (1 - e / E) ** decay for e in range(E)]
