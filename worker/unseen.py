"""How well a model knows the rows to be forgotten, beside unseen rows of the same classes."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from worker import tasks
from worker.data import Rows
from worker.inference import logits


@dataclass(frozen=True)
class Matched:
    """Weights of rows, each side summing to one, under which unseen rows have the forget rows' share of each class."""

    forget: Tensor      # double (F,); zero where no unseen row has the class
    unseen: Tensor      # double (V,)

    @property
    def rows(self) -> tuple[float, float]:
        """How many equally weighted rows each side is worth (Kish); 0 where no class is on both sides."""
        return worth(self.forget), worth(self.unseen)


@dataclass(frozen=True)
class Known:
    """What one look at both sides saw."""

    forget_losses: Tensor               # (F,)
    unseen_losses: Tensor               # (V,)
    forget_hits: Tensor | None          # (F,) None for a regression
    unseen_hits: Tensor | None          # (V,)


def match(forget: Rows, unseen: Rows) -> Matched:
    """Classes that one side lacks weigh nothing; of labels that are no classes every row weighs the same."""
    if tasks.task_of(forget.y) != "classification":
        alike = (torch.ones(len(rows), dtype=torch.double, device=rows.y.device) for rows in (forget, unseen))
        return Matched(*map(shares, alike))
    K = 1 + int(torch.cat([forget.y, unseen.y]).max())
    n_F, n_V = (torch.bincount(rows.y, minlength=K).double() for rows in (forget, unseen))
    both = ((n_F > 0) & (n_V > 0)).double()
    return Matched(shares(both[forget.y]), shares((both * n_F / n_V.clamp(min=1))[unseen.y]))


def look(model: nn.Module, forget: Rows, unseen: Rows) -> Known:
    """Ask the model about both sides."""
    answers = [(logits(model, rows), rows.y) for rows in (forget, unseen)]
    f, v = (tasks.losses(outputs, y) for outputs, y in answers)
    if tasks.task_of(forget.y) == "regression":
        return Known(f, v, None, None)
    right_f, right_v = (tasks.hits(outputs, y) for outputs, y in answers)
    return Known(f, v, right_f, right_v)


def mean(values: Tensor, weights: Tensor) -> float:
    """Σ w·v, summed in double precision."""
    return (weights @ values.double()).item()


def variance(values: Tensor, weights: Tensor) -> float:
    """Of the weighted mean of independent rows: Σ w²(v − v̄)²."""
    return ((weights * (values.double() - mean(values, weights))) ** 2).sum().item()


def shares(weights: Tensor) -> Tensor:
    """The same weights with the sum one; zeros stay zeros."""
    total = weights.sum()
    return torch.where(total > 0, weights / total.clamp(min=1e-12), weights)


def worth(weights: Tensor) -> float:
    """(Σw)² / Σw²."""
    squares = weights.square().sum().item()
    return weights.sum().item() ** 2 / squares if squares else 0.0
