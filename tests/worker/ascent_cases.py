"""The toy problems of "Ascent Fails to Forget" (arXiv:2509.26427): small enough that every optimum is known.

Blocks and the two correlated directions have an exponential loss and closed forms in Lambert's W; the trap has two
basins; `Curve` and `Line` are the same as models that the checks and the guard can look at.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from scipy.special import lambertw
from torch import Tensor, nn

from service.domain.recipes import Logistic, Sgd, Spec, Training, Vector
from worker.data import Rows, Split

Loss = Callable[[Tensor], Tensor]


def minimise(loss: Loss, start: Sequence[float] | Tensor) -> Tensor:
    """The minimum next to the start, to about ten digits."""
    w = torch.as_tensor(start, dtype=torch.float64).clone().requires_grad_()
    exact = {"tolerance_grad": 1e-13, "tolerance_change": 0}
    solver = torch.optim.LBFGS([w], max_iter=500, line_search_fn="strong_wolfe", **exact)

    def closure() -> Tensor:
        w.grad = None
        value = loss(w)
        value.backward()
        return value

    solver.step(closure)
    return w.detach()


def descended(loss: Loss, start: Tensor, *, lr: float, steps: int) -> Tensor:
    """Full gradient descent: it stays in its basin."""
    w = start.clone().requires_grad_()
    for _ in range(steps):
        (slope,) = torch.autograd.grad(loss(w), w)
        w = (w - lr * slope).detach().requires_grad_()
    return w.detach()


def slope(loss: Loss, at: Tensor) -> Tensor:
    """∇ loss."""
    w = at.clone().requires_grad_()
    return torch.autograd.grad(loss(w), w)[0]


@dataclass(frozen=True)
class Block:
    """One block of Lemma 2: rows with y·x = 1 on a coordinate of their own; counts may be fractions."""

    F_j: float
    R_j: float = 30
    F: float = 10
    R: float = 90
    decay: float = 0.1

    def forget(self, w: Tensor) -> Tensor:
        return self.F_j / self.F * torch.exp(-w).sum()

    def retain(self, w: Tensor) -> Tensor:
        return self.R_j / self.R * torch.exp(-w).sum()

    def ridge(self, w: Tensor) -> Tensor:
        return self.decay / 2 * w.square().sum()

    def everything(self, w: Tensor) -> Tensor:
        return (self.F * self.forget(w) + self.R * self.retain(w)) / (self.F + self.R) + self.ridge(w)

    def ascent(self, w: Tensor) -> Tensor:
        return self.retain(w) - self.forget(w) + self.ridge(w)

    @property
    def closed(self) -> tuple[float, float, float]:
        """w_D, w_R, w_DA of Lemma 2; the last is nan where there is no stationary point."""
        shares = (self.F_j + self.R_j) / (self.F + self.R), self.R_j / self.R, self.R_j / self.R - self.F_j / self.F
        w_D, w_R, w_DA = (lambertw(share / self.decay) for share in shares)
        return w_D.real, w_R.real, w_DA.real if abs(w_DA.imag) < 1e-12 else float("nan")


@dataclass(frozen=True)
class Correlated:
    """Retain rows (1, ε), forget rows (ε, 1), all of label +1; n of |R| and αn of |F| rows."""

    n: float = 90
    alpha: float = 0.05
    eps: float = 0.9
    F: float = 10
    R: float = 90
    decay: float = 0.1

    def retain(self, w: Tensor) -> Tensor:
        return self.n / self.R * torch.exp(-(w[0] + self.eps * w[1]))

    def forget(self, w: Tensor) -> Tensor:
        return self.alpha * self.n / self.F * torch.exp(-(self.eps * w[0] + w[1]))

    def ridge(self, w: Tensor) -> Tensor:
        return self.decay / 2 * w.square().sum()

    def everything(self, w: Tensor) -> Tensor:
        return (self.F * self.forget(w) + self.R * self.retain(w)) / (self.F + self.R) + self.ridge(w)

    def oracle(self, w: Tensor) -> Tensor:
        return self.retain(w) + self.ridge(w)

    def ascent(self, w: Tensor) -> Tensor:
        return self.retain(w) - self.forget(w) + self.ridge(w)

    def margins(self, w: Tensor) -> Tensor:
        """The paper's (x, y) = (w₁ + ε w₂, ε w₁ + w₂)."""
        return torch.stack([w[0] + self.eps * w[1], self.eps * w[0] + w[1]])


POINTS = torch.tensor([-1.0, 1, 3, 4], dtype=torch.float64)
LABELS = torch.tensor([-1.0, 1, -1, 1], dtype=torch.float64)
ALL, KEPT, ASCENT = ([5.0, 4, 1, 4], [5.0, 4, 1, 2], [5.0, 4, 1, 0])       # weights of the points


def trap(weights: Sequence[float]) -> Loss:
    """Σ α_i (tanh((1 + a x + b x²)/2) − y)² + 0.05 (a² + b²)."""
    each = torch.tensor(weights, dtype=torch.float64)
    return lambda w: each @ (trapped(w) - LABELS).square() + 0.05 * w.square().sum()


def trapped(w: Tensor) -> Tensor:
    """(4,) what the model says of the points."""
    return torch.tanh((1 + w[0] * POINTS + w[1] * POINTS**2) / 2)


class Curve(nn.Module):
    """The trap's model on rows (x, x²)."""

    def __init__(self, w: Tensor) -> None:
        super().__init__()
        self.line = linear(w)

    def forward(self, x: Tensor) -> Tensor:
        return torch.tanh((1 + self.line(x)) / 2)


class Line(nn.Module):
    """Logistic regression: the answers are 0 and w·x."""

    def __init__(self, w: Tensor) -> None:
        super().__init__()
        self.line = linear(w)

    def forward(self, x: Tensor) -> Tensor:
        z = self.line(x)
        return torch.cat([torch.zeros_like(z), z], dim=1)


def linear(w: Tensor) -> nn.Linear:
    layer = nn.Linear(len(w), 1, bias=False, dtype=w.dtype)
    layer.weight.data = w.clone()[None]
    return layer


def copies(counts: Sequence[int]) -> Rows:
    """The trap's points, each as many times."""
    times = torch.tensor(counts)
    x = torch.stack([POINTS, POINTS**2], dim=1)
    return Rows(x.repeat_interleave(times, 0), LABELS.repeat_interleave(times))


def one_hot(counts: Sequence[int]) -> Rows:
    """Orthogonal blocks, all of class 1, each of as many rows."""
    times = torch.tensor(counts)
    return Rows(torch.eye(len(counts), dtype=torch.float64).repeat_interleave(times, 0), torch.ones(sum(counts)).long())


def cross_entropy(rows: Rows, w: Tensor) -> Tensor:
    """The mean loss of `Line`."""
    return nn.functional.softplus((1 - 2 * rows.y) * (rows.x @ w)).mean()


def noisy_line(n: int, seed: int, *, features: int = 5) -> Rows:
    """Labels follow the first feature, and every fourth of them is noise."""
    g = torch.Generator().manual_seed(seed)
    x = torch.randn(n, features, generator=g, dtype=torch.float64)
    return Rows(x, ((x[:, 0] > 0) ^ (torch.rand(n, generator=g) < 0.25)).long())


def joined(split: Split) -> Rows:
    """What the original was trained on."""
    return Rows(torch.cat([split.retain.x, split.forget.x]), torch.cat([split.retain.y, split.forget.y]))


def ridge_spec(decay: float) -> Spec:
    """A recipe with this weight decay by gradient."""
    training = Training(optimizer=Sgd(weight_decay=decay))
    return Spec(family=Logistic(), training=training, input=Vector(features=2), classes=2)
