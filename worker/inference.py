"""What a model says about rows, without a gradient and without changing it. Rows are never augmented here."""

from collections.abc import Generator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from worker import tasks
from worker.data import Rows, inputs
from worker.mapped import Mapped

CHUNK = 2048        # rows at a time
WORDS = 1 << 18     # or so many words: a word takes up what a row of a table does


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
        return torch.cat([model(inputs(x)) for x in rows.x.split(at_once(rows.x, chunk))])


def at_once(x: Tensor | Mapped, chunk: int) -> int:
    """How many such rows go through a model together; fewer where they are long texts."""
    words = x.dim() == 2 and not x.is_floating_point()
    return max(1, min(chunk, WORDS // max(1, x.shape[1]))) if words else chunk


def losses(model: nn.Module, rows: Rows, *, chunk: int = CHUNK) -> Tensor:
    """(n,) loss of each row, in nats for a classification."""
    return tasks.losses(logits(model, rows, chunk=chunk), rows.y)


def accuracy(model: nn.Module, rows: Rows) -> float:
    """Share of labels that the model has right."""
    return tasks.hits(logits(model, rows), rows.y).mean().item()
