"""A model's weights as bytes: same weights, same bytes, same digest."""

from hashlib import sha256

from safetensors.torch import save
from torch import Tensor, nn


def serialise(model: nn.Module) -> bytes:
    """The weights and buffers as one safetensors file; a tied tensor is in it once."""
    held, _ = tensors(model)
    return save({name: t.detach().cpu().contiguous() for name, t in held.items()})


def digest(model: nn.Module) -> str:
    """SHA-256 of the file that `checkpoint.save` writes, in hex."""
    return sha256(serialise(model)).hexdigest()


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
