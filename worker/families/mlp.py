"""Fully connected layers with ReLU on the flattened input."""

from collections import OrderedDict
from itertools import pairwise

from torch import nn

from service.domain.architectures import flat
from service.domain.recipes import InputShape, Mlp
from worker.registry import family


@family(Mlp)
def mlp(f: Mlp, shape: InputShape, classes: int) -> nn.Module:
    """(n, …) → (n, classes)."""
    widths = (flat(shape), *f.hidden)
    layers = [nn.Sequential(nn.Linear(a, b), nn.ReLU()) for a, b in pairwise(widths)]
    return nn.Sequential(
        OrderedDict(flat=nn.Flatten(), hidden=nn.Sequential(*layers), head=nn.Linear(widths[-1], classes))
    )
