r"""mixup: Beyond Empirical Risk Minimization. Zhang, Cisse, Dauphin, Lopez-Paz. ICLR 2018. arXiv:1710.09412.

    x' = λ x_i + (1 − λ) x_j,   ℓ' = λ ℓ(x', y_i) + (1 − λ) ℓ(x', y_j),   λ ~ Beta(α, α),   j: the batch reordered

With cross-entropy the blend of the losses is the loss of the blended labels, which is how the authors' code writes it.
Differs from that code: λ is drawn for each pair, as the formula has it, and not once per batch.
"""

from dataclasses import replace

import torch
from torch import Tensor

from service.domain.recipes import Mixup
from worker.data import Augment, Batch
from worker.registry import augmentation


@augmentation(Mixup)
def mixup(p: Mixup) -> Augment:
    """Blend each row with one of its batch."""

    def mix(batch: Batch) -> Batch:
        other = torch.randperm(len(batch)).to(batch.x.device, non_blocking=True)
        own = shares(p.alpha, len(batch)).to(batch.x.device, non_blocking=True)
        return replace(batch, x=blend(batch.x, other, own), partner=batch.y[other], own=own)

    return mix


def shares(alpha: float, n: int) -> Tensor:
    """(n,) λ ~ Beta(α, α)."""
    return torch.distributions.Beta(alpha, alpha).sample((n,))


def blend(x: Tensor, other: Tensor, own: Tensor) -> Tensor:
    """λ x_i + (1 − λ) x_j, with (n,) the j of each row and its λ."""
    weight = own.view(-1, *[1] * (x.dim() - 1))
    return weight * x + (1 - weight) * x[other]
