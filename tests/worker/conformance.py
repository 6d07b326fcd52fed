"""Everything on the menu as values to try, and the small worlds that they are tried in.

Recipes are made from the classes of the registries by the names of their fields, so a new class needs no line here.
"""

from collections.abc import Sequence
from copy import deepcopy
from dataclasses import dataclass
from itertools import chain
from typing import Literal, TypeVar, get_args, get_origin

import torch
from pydantic import ValidationError
from torch import Tensor, nn

from service.domain.recipes import Descent, Method, Mlp, NoMask, Spec, Training, Vector
from service.domain.recipes.masks import Mask
from service.domain.values import Value
from tests.worker.conftest import rng
from worker import registry
from worker.data import Rows, Split
from worker.training import build
from worker.unlearning import Unlearned, unlearn

V = TypeVar("V", bound=Value)
# A few steps on a few rows; the selection is low so that tiny worlds have weights to dampen.
TINY = {"batch": 8, "epochs": 2, "max_epochs": 1, "passes": 2.0, "lr": 0.01, "selection": 0.5, "retain_share": 0.5}
F, K = 4, 3     # features, classes


def fitted(recipe: type[V], **wanted: object) -> V:
    """A value of the class with those of the wanted fields that it has."""
    return recipe.model_validate({key: value for key, value in wanted.items() if key in recipe.model_fields})


def altered(value: V, **fields: object) -> V | None:
    """The value with other fields; None where the menu refuses them."""
    try:
        return type(value).model_validate({**dict(value), **fields})
    except ValidationError:
        return None


def variants(value: V) -> list[V]:
    """The value, and it with each other word in each field that takes one of a few words."""
    words = {key: get_args(f.annotation) for key, f in type(value).model_fields.items()
             if key not in {"name", "bn"} and get_origin(f.annotation) is Literal}
    others = [altered(value, **{key: word}) for key, choice in words.items() for word in choice]
    return [value, *(other for other in others if other is not None and other != value)]


def named(value: Value) -> str:
    """A recipe as the name of a test: what differs from the class's defaults, less what all of them have."""
    known = fitted(type(value), **TINY)
    parts = [f"{key}={named(v) if isinstance(v, Value) else v}" for key, v in value if v != getattr(known, key)]
    return "-".join([str(getattr(value, "name", "")), *parts])


METHODS: list[Method] = [fitted(recipe, **TINY) for recipe in registry.method.recipes()]
VARIANTS: list[Method] = [v for m in METHODS for v in variants(m)]
MASKS: list[Mask] = [v for recipe in registry.mask.recipes() if recipe is not NoMask for v in variants(recipe())]
MASKABLE = [m for m in METHODS if "mask" in type(m).model_fields]
MASKED: list[Method] = [
    fitted(type(m), **TINY, mask=mask, order="paired") for m in MASKABLE for mask in MASKS
]
EVERY = VARIANTS + MASKED
DESCENTS = [m for m in METHODS if isinstance(m, Descent)]


@dataclass(frozen=True)
class World:
    """A model that has not learned much, and rows."""

    model: nn.Module
    split: Split
    spec: Spec | None = None    # where it is of a family

    def serves(self, recipe: Method) -> bool:
        """Retraining needs to know how the model was made."""
        return recipe.name != "retrain" or self.spec is not None

    def run(self, recipe: Method, *, seed: int = 7, **options: object) -> Unlearned:
        """Unlearn with a fresh generator."""
        return unlearn(self.model, self.split, recipe, rng=rng(seed), spec=self.spec, **options)


def rows(n: int, seed: int, *, task: str = "classification") -> Rows:
    g = rng(seed)
    x = torch.randn(n, F, generator=g)
    match task:
        case "multi_label":
            y = (x[:, :K] + 0.5 * torch.randn(n, K, generator=g) > 0).float()
        case "regression":
            y = x[:, 0] + 0.1 * torch.randn(n, generator=g)
        case _:
            y = torch.randint(K, (n,), generator=g)
    return Rows(x, y)


def parted(retain: int = 36, forget: int = 12, *, task: str = "classification") -> Split:
    return Split(rows(retain, 1, task=task), rows(forget, 2, task=task), rows(20, 3, task=task))


def of_family(task: str = "classification", split: Split | None = None) -> World:
    """A small perceptron that a recipe describes."""
    training = Training(epochs=2, batch=16)
    outputs = 1 if task == "regression" else K
    spec = Spec(family=Mlp(hidden=(8,)), training=training, input=Vector(features=F), classes=outputs, task=task)
    return World(build(spec, rng(5)), split or parted(task=task), spec)


class Tied(nn.Module):
    """Two layers that share one weight, and one layer that is used twice."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second, self.head = nn.Linear(F, F), nn.Linear(F, F), nn.Linear(F, K)
        self.second.weight = self.first.weight

    def forward(self, x: Tensor) -> Tensor:
        return self.head(torch.tanh(self.second(self.second(torch.tanh(self.first(x))))))


def frozen() -> nn.Module:
    """Its first layer may not move."""
    model = nn.Sequential(nn.Linear(F, 8), nn.ReLU(), nn.Linear(8, K))
    model[0].requires_grad_(requires_grad=False)
    return model


def normalised() -> nn.Module:
    """Its running statistics are not those that it began with."""
    model = nn.Sequential(nn.Linear(F, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, K))
    model(rows(30, 9).x)
    return model.eval()


def dropping() -> nn.Module:
    return nn.Sequential(nn.Linear(F, 8), nn.ReLU(), nn.Dropout(0.5), nn.Linear(8, K))


def foreign(make: type[nn.Module] | object) -> World:
    """A model that no recipe describes, with the same first weights every time."""
    with torch.random.fork_rng(()):
        torch.manual_seed(3)
        return World(make(), parted())


WORLDS = {
    "family": of_family,
    "multi-label": lambda: of_family("multi_label"),
    "regression": lambda: of_family("regression"),
    "batch normalisation": lambda: foreign(normalised),
    "dropout": lambda: foreign(dropping),
    "shared weights": lambda: foreign(Tied),
    "frozen layer": lambda: foreign(frozen),
    "single batch": lambda: of_family(split=parted(6, 5)),
    "more forget than retain": lambda: of_family(split=parted(5, 20)),
    "one row to forget": lambda: of_family(split=parted(20, 1)),
    "one row of each": lambda: of_family(split=parted(1, 1)),
}


def state(model: nn.Module) -> dict[str, Tensor]:
    """A copy of everything that the model consists of."""
    return deepcopy(dict(model.state_dict()))


def equal(a: dict[str, Tensor], b: dict[str, Tensor]) -> bool:
    """The same names and the same bits."""
    return a.keys() == b.keys() and all(torch.equal(a[key], b[key]) for key in a)


def same(one: Unlearned, other: Unlearned) -> bool:
    """The same weights and the same log, bit by bit."""
    return equal(state(one.model), state(other.model)) and one.log == other.log


def tensors(split: Split) -> Sequence[Tensor]:
    """All that the rows consist of."""
    parts = (split.retain, split.forget, split.validation)
    return list(chain.from_iterable((part.x, part.y) for part in parts))
