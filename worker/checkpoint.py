"""Weights as safetensors: the only place that writes or reads them. Same weights, same bytes."""

from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load as parse
from torch import Tensor, nn

from service.domain.recipes import Spec
from service.errors import Fault, InvalidWeights
from worker.training import skeleton
from worker.weights import digest, serialise, tensors

__all__ = ["digest", "load", "save", "serialise", "tensors"]

SHOWN = 20      # faults that an error lists; the sentence counts all


def save(model: nn.Module, path: Path) -> None:
    """Write the weights."""
    path.write_bytes(serialise(model))


def load(into: nn.Module | Spec, path: Path) -> nn.Module:
    """Read weights into a module, or into a fresh one made from its recipe; the module is returned.

    Raises:
        InvalidWeights: not safetensors; another name, shape or dtype; a value that is not finite.
    """
    try:
        found = parse(path.read_bytes())
    except SafetensorError as error:
        raise InvalidWeights("the file is not safetensors") from error
    model = skeleton(into).eval() if isinstance(into, Spec) else into
    expected, ties = tensors(model)
    refuse(faults(expected, found))
    model.load_state_dict(found | {alias: found[name] for alias, name in ties.items()})
    return model


def faults(expected: dict[str, Tensor], found: dict[str, Tensor]) -> list[Fault]:
    """Everything that keeps these tensors from being this model's weights."""
    missing = [Fault(f"/{name}", "is missing") for name in sorted(expected.keys() - found.keys())]
    foreign = [Fault(f"/{name}", "is not a tensor of this family") for name in sorted(found.keys() - expected.keys())]
    both = sorted(expected.keys() & found.keys())
    return missing + foreign + [f for name in both if (f := fault(name, expected[name], found[name]))]


def fault(name: str, want: Tensor, got: Tensor) -> Fault | None:
    """What is wrong with one tensor."""
    if got.shape != want.shape:
        return Fault(f"/{name}", f"has shape {list(got.shape)}, expected {list(want.shape)}")
    if got.dtype != want.dtype:
        return Fault(f"/{name}", f"is {got.dtype}, expected {want.dtype}".replace("torch.", ""))
    bad = int((~torch.isfinite(got)).sum())
    return Fault(f"/{name}", f"{bad} values are not finite") if bad else None


def refuse(found: list[Fault]) -> None:
    """Raise if there is a fault."""
    if found:
        raise InvalidWeights(f"{len(found)} tensors are not this architecture's", faults=found[:SHOWN])
