"""What in a recipe is no paper's formula: told in the catalogue, and in every certificate that rests on it."""

from collections.abc import Iterator
from typing import Final

from service.domain.recipes.masks import FocusMask, Mask, NoMask, OptMask, ProbMask
from service.domain.recipes.methods import Method, NablaTau

OURS: Final[dict[str, str]] = {
    "nabla_tau target=quantile": "The quantile target is Expunge's own; the paper aims at the mean.",
    "nabla_tau target=class": "The target per class is Expunge's own; the paper aims at the mean of all classes.",
    "nabla_tau alpha0 ≤ 1": "The first weight of the forget loss is capped at 1, which the paper does not say.",
    "mask variance=adam": "The bias-corrected estimate of a gradient's noise is Expunge's own.",
    "mask variance=sem": "The noise from micro-batches follows the authors' later notes, not the paper.",
    "mask opt": "The greedy mask is known from the authors' code alone.",
    "guard": "The rules that stop a run are Expunge's reading of the diagnostics in arXiv:2509.26427.",
    "rung reference": "The relative test's distance and p-value are Expunge's own, and so is RMIA's unplanned weight.",
    "rung mia_nn": "The attack is a reconstruction: the authors' code and settings were not available.",
}


def ours(recipe: Method) -> tuple[str, ...]:
    """A sentence for each part of a recipe that is a reconstruction, or our own."""
    keys = [*_target(recipe), *_mask(getattr(recipe, "mask", NoMask()))]
    return tuple(OURS[key] for key in (*keys, *(["guard"] if getattr(recipe, "guard", None) else [])))


def _target(recipe: Method) -> Iterator[str]:
    if isinstance(recipe, NablaTau):
        yield "nabla_tau alpha0 ≤ 1" if recipe.target == "mean" else f"nabla_tau target={recipe.target}"


def _mask(mask: Mask) -> Iterator[str]:
    match mask:
        case ProbMask() | FocusMask() if mask.variance != "paper":
            yield f"mask variance={mask.variance}"
        case OptMask():
            yield "mask opt"
        case _:
            return
