"""Teachers: frozen models whose answers another one learns from."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from worker.asking import Ask
from worker.data import Batch

Teacher = Callable[..., list[Tensor]]   # the answers to each of some batches, as `Ask` gives them


def teacher(model: nn.Module) -> Teacher:
    """What this model says at rest, without a gradient. It becomes a teacher for good, so hand over a copy."""
    ask = Ask(model.eval().requires_grad_(requires_grad=False))

    def answers(*batches: Batch) -> list[Tensor]:
        with torch.no_grad():
            return ask(*batches)

    return answers
