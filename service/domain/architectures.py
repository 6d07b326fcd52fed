"""The tensors of each model family by name, without torch: what a file of uploaded weights has to contain."""

from functools import singledispatch
from itertools import pairwise
from math import prod

from service.domain.recipes import Cnn, Image, InputShape, Logistic, Mlp, ResNet18, Spec, Tokens, Vector
from service.domain.values import Value
from service.errors import BadInput, Fault

Tensors = dict[str, tuple[str, tuple[int, ...]]]    # name → dtype in safetensors spelling, shape


def tensors(spec: Spec) -> Tensors:
    """Name, dtype and shape of everything that the weights of this model consist of."""
    return _tensors(spec.family, spec.input, spec.classes)


def sizes(shape: InputShape) -> tuple[int, ...]:
    """The shape of one row."""
    match shape:
        case Image():
            return (shape.channels, shape.height, shape.width)
        case Tokens():
            return (shape.length,)
        case Vector():
            return (shape.features,)


def picture(shape: InputShape) -> Image:
    """The shape, where it is a picture's; a convolution has no use for another."""
    if not isinstance(shape, Image):
        detail = "this family takes pictures, not vectors"
        raise BadInput(detail, faults=[Fault("/family", detail)])
    return shape


@singledispatch
def _tensors(family: Value, _shape: InputShape, _classes: int) -> Tensors:
    raise BadInput(f"no tensors are known for the family {type(family).__name__}")


@_tensors.register
def _(_family: Logistic, shape: InputShape, classes: int) -> Tensors:
    return _linear("head", prod(sizes(shape)), classes)


@_tensors.register
def _(family: Mlp, shape: InputShape, classes: int) -> Tensors:
    widths = (prod(sizes(shape)), *family.hidden)
    hidden = [_linear(f"hidden.{i}.0", a, b) for i, (a, b) in enumerate(pairwise(widths))]
    return _join(*hidden, _linear("head", widths[-1], classes))


@_tensors.register
def _(family: Cnn, shape: InputShape, classes: int) -> Tensors:
    image = picture(shape)
    widths = (image.channels, family.width, 2 * family.width, 4 * family.width)
    blocks = [
        {f"block{i}.0.weight": ("F32", (b, a, 3, 3)), f"block{i}.0.bias": ("F32", (b,))}
        for i, (a, b) in enumerate(pairwise(widths), start=1)
    ]
    cells = -(-image.height // 8) * -(-image.width // 8)    # three poolings that round up
    return _join(*blocks, _linear("head", widths[3] * cells, classes))


@_tensors.register
def _(family: ResNet18, shape: InputShape, classes: int) -> Tensors:
    width = family.width
    stem = _convolution("conv1", "bn1", picture(shape).channels, width)
    layers = [_layer(f"layer{i + 1}", width << max(0, i - 1), width << i) for i in range(4)]
    return _join(stem, *layers, _linear("head", 8 * width, classes))


def _layer(name: str, inside: int, outside: int) -> Tensors:
    first, second = (_block(f"{name}.{i}", size, outside) for i, size in enumerate((inside, outside)))
    if inside == outside:
        return first | second
    return _join(first, _convolution(f"{name}.0.shortcut.0", f"{name}.0.shortcut.1", inside, outside, side=1), second)


def _block(name: str, inside: int, outside: int) -> Tensors:
    return _join(
        _convolution(f"{name}.conv1", f"{name}.bn1", inside, outside),
        _convolution(f"{name}.conv2", f"{name}.bn2", outside, outside),
    )


def _convolution(conv: str, norm: str, inside: int, outside: int, *, side: int = 3) -> Tensors:
    weight: Tensors = {f"{conv}.weight": ("F32", (outside, inside, side, side))}
    means: Tensors = {
        f"{norm}.{part}": ("F32", (outside,)) for part in ("weight", "bias", "running_mean", "running_var")
    }
    return weight | means | {f"{norm}.num_batches_tracked": ("I64", ())}


def _linear(name: str, inside: int, outside: int) -> Tensors:
    return {f"{name}.weight": ("F32", (outside, inside)), f"{name}.bias": ("F32", (outside,))}


def _join(*parts: Tensors) -> Tensors:
    return {name: tensor for part in parts for name, tensor in part.items()}
