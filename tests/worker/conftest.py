"""A small world that a model can only learn by heart: labels follow one feature, and a third of them are noise."""

import pytest
import torch
from torch import nn

from service.domain.recipes import Mlp, Spec, Training, Vector
from worker.data import Rows, Split
from worker.training import train

torch.set_num_threads(1)    # tiny tensors on many threads are slower, and a busy machine makes it worse


def rng(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def noisy(n: int, seed: int) -> Rows:
    g = rng(seed)
    x = torch.randn(n, 12, generator=g)
    y = ((x[:, 0] > 0) ^ (torch.rand(n, generator=g) < 0.3)).long()
    return Rows(x, y, torch.arange(n) // 2)


@pytest.fixture(scope="session")
def spec() -> Spec:
    return Spec(family=Mlp(hidden=(64,)), training=Training(epochs=120, batch=32), input=Vector(features=12), classes=2)


@pytest.fixture(scope="session")
def split() -> Split:
    rows = noisy(240, seed=1)
    return Split(rows.take(torch.arange(40, 240)), rows.take(torch.arange(40)), noisy(400, seed=2))


@pytest.fixture(scope="session")
def original(spec: Spec, split: Split) -> nn.Module:
    rows = Rows(torch.cat([split.retain.x, split.forget.x]), torch.cat([split.retain.y, split.forget.y]))
    return train(spec, rows)
