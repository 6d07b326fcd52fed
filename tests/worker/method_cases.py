"""A linear model and few rows, so that one batch is a whole set and a loop of ten lines is the judge of a method."""

from collections.abc import Callable, Iterable

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from service.domain.recipes import Logistic, Method, Spec, Vector
from tests.worker.conftest import rng
from worker.data import Rows, Split
from worker.training import build
from worker.unlearning import Unlearned, unlearn

FEATURES = 3


def spec(classes: int = 3) -> Spec:
    return Spec(family=Logistic(), input=Vector(features=FEATURES), classes=classes)


def linear(classes: int = 3) -> nn.Module:
    return build(spec(classes), rng(1))


def drawn(n: int, seed: int, classes: int = 3) -> Rows:
    g = rng(seed)
    return Rows(torch.randn(n, FEATURES, generator=g), torch.randint(0, classes, (n,), generator=g))


def split(classes: int = 3) -> Split:
    return Split(drawn(9, 2, classes), drawn(5, 3, classes), drawn(6, 4, classes))


def run(model: nn.Module, data: Split, method: Method, **options: object) -> Unlearned:
    return unlearn(model, data, method, rng=rng(0), **options)


def follow(model: nn.Module, optimiser: Optimizer, losses: Iterable[Callable[[], Tensor]]) -> nn.Module:
    """Torch's own way through one loss after the other."""
    for loss in losses:
        optimiser.zero_grad()
        loss().backward()
        optimiser.step()
    return model


def close(one: nn.Module, other: nn.Module, *, atol: float = 1e-6) -> bool:
    a, b = one.state_dict(), other.state_dict()
    return a.keys() == b.keys() and all(torch.allclose(a[name], b[name], atol=atol) for name in a)


def far(one: nn.Module, other: nn.Module) -> bool:
    """Every weight moved, and by more than rounding."""
    pairs = zip(one.parameters(), other.parameters(), strict=True)
    return all((a - b).abs().min() > 1e-5 for a, b in pairs)
