"""Gradients of objectives as lists of tensors, one per weight: taken, added up, and compared."""

from collections.abc import Sequence

import torch
from torch import Tensor

from worker.distributed import summed

Gradients = list[Tensor]


def gradients(loss: Tensor, weights: Sequence[Tensor], *, keep: bool = False) -> Gradients:
    """∂loss/∂w for each weight, over all processes; zeros where the loss does not depend on it.

    Never an alias of `.grad`. With `keep` the graph can be walked once more.
    """
    if not loss.requires_grad:
        return [torch.zeros_like(w) for w in weights]
    return summed(list(torch.autograd.grad(loss, list(weights), materialize_grads=True, retain_graph=keep)))


def gradients_by_part(
    loss: Tensor, weights: Sequence[Tensor], parts: Sequence[Tensor]
) -> tuple[Gradients, list[Gradients]]:
    """The gradient of a loss on k micro-batches' answers, and the k estimates of it of which it is the mean."""
    slopes = torch.autograd.grad(loss, list(parts), materialize_grads=True, retain_graph=True)
    each = [pulled_back(part, slope, weights) for part, slope in zip(parts, slopes, strict=True)]
    whole = [torch.stack(same).sum(dim=0) for same in zip(*each, strict=True)]
    return whole, [[len(parts) * g for g in one] for one in each]


def pulled_back(answers: Tensor, slope: Tensor, weights: Sequence[Tensor]) -> Gradients:
    """Σ slope · ∂answers/∂w."""
    return summed(list(torch.autograd.grad(answers, list(weights), slope, materialize_grads=True)))


def aggregate(forget: Gradients, retain: Gradients, alpha: float) -> Gradients:
    """α·g_U + (1 − α)·g_C."""
    return [alpha * u + (1 - alpha) * c for u, c in zip(forget, retain, strict=True)]


def scaled(update: Gradients, shares: Sequence[Tensor]) -> Gradients:
    """The update times each coordinate's share; exactly zero where a weight may not move."""
    return [torch.where(s, g, 0.0) if s.dtype == torch.bool else s * g for g, s in zip(update, shares, strict=True)]


def flat(g: Sequence[Tensor]) -> Tensor:
    """(d,) all coordinates, in the order of the weights: arithmetic in few calls, however many tensors there are."""
    return torch.cat([x.reshape(-1) for x in g])


def shaped(vector: Tensor, like: Sequence[Tensor]) -> list[Tensor]:
    """The coordinates in the weights' shapes again."""
    parts = vector.split([x.numel() for x in like])
    return [part.view(x.shape) for part, x in zip(parts, like, strict=True)]


def inner(a: Gradients, b: Gradients) -> Tensor:
    """⟨a, b⟩ over all weights."""
    return flat(a) @ flat(b)


def feasible(update: Gradients, forget: Gradients, retain: Gradients) -> Tensor:
    """Whether a step along −update makes neither objective worse, to first order."""
    return (inner(update, forget) >= 0) & (inner(update, retain) >= 0)
