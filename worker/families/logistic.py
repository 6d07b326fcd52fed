"""Multinomial logistic regression on the flattened input."""

from collections import OrderedDict

from torch import nn

from service.domain.architectures import flat
from service.domain.recipes import InputShape, Logistic
from worker.registry import family


@family(Logistic)
def logistic(_: Logistic, shape: InputShape, classes: int) -> nn.Module:
    """(n, …) → (n, classes)."""
    return nn.Sequential(OrderedDict(flat=nn.Flatten(), head=nn.Linear(flat(shape), classes)))
