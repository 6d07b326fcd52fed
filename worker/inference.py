"""What a model says about rows, without a gradient and without changing it."""

from collections.abc import Generator
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from worker.data import Rows, inputs

CHUNK = 2048    # rows at a time


@contextmanager
def at_rest(model: nn.Module) -> Generator[None]:
    """Evaluation mode: running statistics do not move and nothing is dropped; afterwards each module's own mode."""
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        yield
    finally:
        for module, mode in modes:
            module.training = mode


@torch.no_grad()
def logits(model: nn.Module, rows: Rows, *, chunk: int = CHUNK) -> Tensor:
    """(n, classes), where the rows are."""
    with at_rest(model):
        return torch.cat([model(inputs(x)) for x in rows.x.split(chunk)])


def losses(model: nn.Module, rows: Rows, *, chunk: int = CHUNK) -> Tensor:
    """(n,) cross-entropy of each row, in nats."""
    return cross_entropy(logits(model, rows, chunk=chunk), rows.y, reduction="none")


def accuracy(model: nn.Module, rows: Rows) -> float:
    """Share of rows whose likeliest class is their label."""
    return (logits(model, rows).argmax(dim=1) == rows.y).float().mean().item()
