"""How many CPU threads a model's tensors are worth."""

import os

import torch

from service.domain.recipes import Spec


def suit(spec: Spec) -> None:
    """One thread for vectors, all cores for pictures and texts.

    The matrices of a table's model are so small that a second thread gains little on an idle machine, and costs many
    times that on a busy one, where both spin for each other.
    """
    torch.set_num_threads(1 if spec.input.kind == "vector" else os.cpu_count() or 1)
