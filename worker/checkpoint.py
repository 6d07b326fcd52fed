"""Weights as safetensors: the only place that writes or reads them. Same weights, same bytes."""

from hashlib import sha256
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load as parse
from safetensors.torch import save as serialise_tensors
from torch import Tensor, nn

from service.domain.recipes import Spec
from service.errors import Fault, InvalidWeights
from worker.training import skeleton

SHOWN = 20      # faults that an error lists; the sentence counts all


def serialise(model: nn.Module) -> bytes:
    """The weights and buffers as one safetensors file; a tied tensor is in it once."""
    held, _ = tensors(model)
    return serialise_tensors({name: t.detach().cpu().contiguous() for name, t in held.items()})


def digest(model: nn.Module) -> str:
    """SHA-256 of the file that `save` writes, in hex."""
    return sha256(serialise(model)).hexdigest()


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


def tensors(model: nn.Module) -> tuple[dict[str, Tensor], dict[str, str]]:
    """The state once per storage, and the further names of tied tensors with the name that is kept."""
    first: dict[tuple[object, ...], str] = {}
    held: dict[str, Tensor] = {}
    ties: dict[str, str] = {}
    for name, tensor in model.state_dict().items():
        key = (tensor.data_ptr(), tensor.shape, tensor.stride()) if tensor.numel() else (name,)
        if key in first:
            ties[name] = first[key]
        else:
            first[key], held[name] = name, tensor
    return held, ties


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
