"""Programs that users might bring: small, and each with something in it that a translation may get wrong."""

from copy import deepcopy
from functools import cache
from io import BytesIO

import torch
from torch import Tensor, nn
from torch.nn.functional import adaptive_avg_pool2d, gelu, max_pool2d, relu


class Pictures(nn.Module):
    """Convolutions with batch normalisation, a residual, dropout, and activations that work in place."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(1, 4, 3, padding=1, bias=False), nn.BatchNorm2d(4), nn.ReLU(inplace=True))
        self.conv = nn.Conv2d(4, 4, 3, padding="same")
        self.bn = nn.BatchNorm2d(4)
        self.drop, self.head = nn.Dropout(0.3), nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        maps = max_pool2d(self.stem(x), 2)
        maps = relu(self.bn(self.conv(maps)) + maps, inplace=True)
        return self.head(self.drop(adaptive_avg_pool2d(maps, 1).flatten(1)))


class Texts(nn.Module):
    """Embedding, positions, an encoder layer of torch, a scale that is a buffer, and padding that is masked."""

    def __init__(self) -> None:
        super().__init__()
        self.words = nn.Embedding(50, 8, padding_idx=0)
        self.positions = nn.Parameter(torch.randn(1, 6, 8))
        self.encoder = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)
        self.norm, self.head = nn.LayerNorm(8), nn.Linear(8, 3)
        self.register_buffer("scale", torch.tensor(4.0))

    def forward(self, x: Tensor) -> Tensor:
        known = (x != 0).float()[:, :, None]
        told = self.norm(self.encoder(self.words(x) * self.scale + self.positions)) * known
        return self.head(told.sum(1) / known.sum(1).clamp(min=1))


class Vectors(nn.Module):
    """Tied weights, a frozen bias, an unused layer, constants, several results of one operator, and −∞."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.unused, self.head = (nn.Linear(6, 6) for _ in range(4))
        self.b.weight = self.a.weight
        self.a.bias.requires_grad_(False)
        self.register_buffer("mask", torch.tril(torch.ones(6, 6)).bool(), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        y = relu(self.a(x), inplace=True) + torch.arange(6) * torch.tensor([0.5])
        halves = self.b(y).chunk(2, -1)
        most, _ = y.max(dim=1)
        mixed = gelu(torch.cat(halves, 1), approximate="tanh").masked_fill(~self.mask[2], float("-inf")).softmax(-1)
        folded = x.view(x.shape[0] * 2, 3).reshape(x.size(0), -1)
        weight = torch.einsum("ni,ni->n", folded, mixed)[:, None] + most[:, None]
        return self.head(mixed * weight + y[:, torch.tensor([5, 4, 3, 2, 1, 0])])[:, :3] + torch.zeros(x.shape[0], 3)


def pictures(n: int) -> Tensor:
    return torch.rand(n, 1, 8, 8)


def texts(n: int) -> Tensor:
    return torch.randint(50, (n, 6))


def vectors(n: int) -> Tensor:
    return torch.randn(n, 6)


def mlp() -> nn.Module:
    return nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, 3))


BROUGHT = {
    "pictures": (Pictures, pictures), "texts": (Texts, texts), "vectors": (Vectors, vectors), "mlp": (mlp, vectors),
}


@cache
def _brought(name: str, training: bool) -> tuple[nn.Module, bytes]:     # tracing takes a second
    make, rows = BROUGHT[name]
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = make().train(training)
        return model, saved(model, rows(3))


def brought(name: str, *, training: bool) -> tuple[nn.Module, bytes]:
    """A model in this mode, and its file."""
    model, content = _brought(name, training)
    return deepcopy(model), content


def saved(model: nn.Module, rows: Tensor, *, dynamic: bool = True) -> bytes:
    """What torch.export.save writes."""
    sides = ({0: torch.export.Dim.DYNAMIC},) if dynamic else None
    file = BytesIO()
    torch.export.save(torch.export.export(model, (rows,), dynamic_shapes=sides), file)
    return file.getvalue()
