"""Gradients of two objectives as lists of tensors, one per weight: taken, added up, and compared."""

from collections.abc import Sequence

import torch
from torch import Tensor

Gradients = list[Tensor]


def gradients(loss: Tensor, weights: Sequence[Tensor]) -> Gradients:
    """∂loss/∂w for each weight; zeros where the loss does not depend on it. Never an alias of `.grad`."""
    if not loss.requires_grad:
        return [torch.zeros_like(w) for w in weights]
    return list(torch.autograd.grad(loss, list(weights), materialize_grads=True))


def aggregate(forget: Gradients, retain: Gradients, alpha: float) -> Gradients:
    """α·g_U + (1 − α)·g_C."""
    return [alpha * u + (1 - alpha) * c for u, c in zip(forget, retain, strict=True)]


def masked(update: Gradients, moves: Sequence[Tensor]) -> Gradients:
    """The update with zeros where a weight may not move."""
    return [torch.where(m, g, 0.0) for g, m in zip(update, moves, strict=True)]


def inner(a: Gradients, b: Gradients) -> Tensor:
    """⟨a, b⟩ over all weights."""
    return torch.stack([(x * y).sum() for x, y in zip(a, b, strict=True)]).sum()


def feasible(update: Gradients, forget: Gradients, retain: Gradients) -> Tensor:
    """Whether a step along −update makes neither objective worse, to first order."""
    return (inner(update, forget) >= 0) & (inner(update, retain) >= 0)
