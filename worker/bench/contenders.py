"""Who is compared: the default, its relatives, and every other method of the menu, at published and at better rates."""

from collections.abc import Collection
from dataclasses import dataclass
from typing import Final

from service.domain.recipes import (
    PRESETS,
    AndMask,
    FocusMask,
    Mask,
    Method,
    NablaTau,
    OptMask,
    ProbMask,
    SaliencyMask,
)
from service.errors import BadInput
from worker.choosing import chosen
from worker.registry import method as methods

# Published rates belong to sets of 45,000 rows, with eight times the steps of a small one; so the others are higher.
FACTORS: Final = (1.0, 3.0, 10.0)
MASKS: Final[dict[str, Mask]] = {
    "and": AndMask(), "prob": ProbMask(), "focus": FocusMask(), "opt": OptMask(),
    "saliency": SaliencyMask(), "batch saliency": SaliencyMask(scope="batch"),
}


@dataclass(frozen=True)
class Contender:
    """A recipe as published, and the same at other learning rates, of which the benchmark reports the best."""

    name: str
    recipes: tuple[Method, ...]


def contenders(*, rates: bool = True, only: Collection[str] = ()) -> list[Contender]:
    """Ours first; a method that is new on the menu is among the others by itself.

    Args:
        rates: whether others than ours may show their best rate.
        only: names to choose from the list; nothing means all.
    """
    ours = [Contender("nabla_tau quantile", (NablaTau(),))]
    masked = [Contender(f"nabla_tau quantile, {name}", (NablaTau(mask=m),)) for name, m in MASKS.items()]
    paper = PRESETS["paper:nabla-tau"].method.model_copy(update={"lr": 1e-3})
    relatives = [
        faster(f"nabla_tau {t}", paper.model_copy(update={"target": t}), rates=rates) for t in ("mean", "class")
    ]
    others = [faster(name, chosen(name), rates=rates) for name in names()]
    every = [*ours, *masked, *relatives, *others, faster("salun", PRESETS["salun"].method, rates=rates)]
    unknown = set(only) - {each.name for each in every}
    if unknown:
        raise BadInput(f"nobody is named {', '.join(sorted(unknown))}; there are: {', '.join(e.name for e in every)}")
    return [each for each in every if not only or each.name in only]


def names() -> list[str]:
    """The methods of the menu other than ours and retraining."""
    return [name for name in methods.names() if name not in ("nabla_tau", "retrain")]


def faster(name: str, recipe: Method, *, rates: bool) -> Contender:
    """The recipe, and the same at higher rates where it has one."""
    lr = getattr(recipe, "lr", None)
    if lr is None or not rates:
        return Contender(name, (recipe,))
    return Contender(name, tuple(recipe.model_copy(update={"lr": lr * factor}) for factor in FACTORS))
