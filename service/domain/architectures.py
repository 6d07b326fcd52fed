"""The tensors of each model family by name, without torch: what a file of uploaded weights has to contain."""

from collections.abc import Collection
from functools import singledispatch
from itertools import pairwise
from math import prod

from service.domain.recipes import (
    Cnn,
    Exported,
    Image,
    InputShape,
    Logistic,
    Mlp,
    Python,
    ResNet18,
    Spec,
    TextTransformer,
    Tokens,
    Vector,
    Vgg16Bn,
    VitTiny,
)
from service.domain.recipes.own import ProgramInput, weights_of
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


NOUNS = {"vector": "vectors", "image": "pictures", "tokens": "texts"}
VGG16 = (1, 1), (2, 2), (4, 4, 4), (8, 8, 8), (8, 8, 8)     # widths of the convolutions before each pooling


def flat(shape: InputShape) -> int:
    """How many numbers a row has; those of words are names, which cannot be added up."""
    if isinstance(shape, Tokens):
        raise _refusal("vectors or pictures", shape)
    return prod(sizes(shape))


def picture(shape: InputShape) -> Image:
    """The shape, where it is a picture's; a convolution has no use for another."""
    if not isinstance(shape, Image):
        raise _refusal("pictures", shape)
    return shape


def text(shape: InputShape) -> Tokens:
    """The shape, where it is a text's."""
    if not isinstance(shape, Tokens):
        raise _refusal("texts", shape)
    return shape


def patches(family: VitTiny, shape: InputShape) -> int:
    """How many patches cover a picture without a rest."""
    image = picture(shape)
    if image.height % family.patch or image.width % family.patch:
        detail = f"pictures of {image.height} × {image.width} cannot be cut into patches of side {family.patch}"
        raise BadInput(detail, faults=[Fault("/family/patch", detail)])
    return (image.height // family.patch) * (image.width // family.patch)


def _refusal(wanted: str, shape: InputShape) -> BadInput:
    detail = f"this family takes {wanted}, not {NOUNS[shape.kind]}"
    return BadInput(detail, faults=[Fault("/family", detail)])


def refuse_stranger(family: Value, listed: Collection[str]) -> None:
    """A factory runs as our own code does, so its package has to be one that the operator listed."""
    if isinstance(family, Python) and family.package not in listed:
        detail = f"the operator has not listed the package {family.package!r} in EXPUNGE_ARCHITECTURES"
        raise BadInput(f"The architecture is not imported: {detail}", faults=[Fault("/family/factory", detail)])


@singledispatch
def _tensors(family: Value, _shape: InputShape, _classes: int) -> Tensors:
    raise BadInput(f"no tensors are known for the family {type(family).__name__}")


@_tensors.register
def _(_family: Logistic, shape: InputShape, classes: int) -> Tensors:
    return _linear("head", flat(shape), classes)


@_tensors.register
def _(family: Mlp, shape: InputShape, classes: int) -> Tensors:
    widths = (flat(shape), *family.hidden)
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


@_tensors.register
def _(family: Vgg16Bn, shape: InputShape, classes: int) -> Tensors:
    inside, blocks = picture(shape).channels, list[Tensors]()
    for i, widths in enumerate(VGG16, start=1):
        for j, times in enumerate(widths):
            place, outside = f"block{i}.{3 * j}", times * family.width      # convolution, normalisation, ReLU
            blocks.append(_convolution(place, f"block{i}.{3 * j + 1}", inside, outside))
            inside = outside
    return _join(*blocks, _linear("head", inside, classes))


@_tensors.register
def _(family: VitTiny, shape: InputShape, classes: int) -> Tensors:
    width, n = family.width, patches(family, shape)
    cut: Tensors = {
        "patches.weight": ("F32", (width, picture(shape).channels, family.patch, family.patch)),
        "patches.bias": ("F32", (width,)),
        "token.weight": ("F32", (1, width)),
        "positions.weight": ("F32", (n + 1, width)),
    }
    return _join(cut, _encoder(width, family.depth), _linear("head", width, classes))


@_tensors.register
def _(family: TextTransformer, shape: InputShape, classes: int) -> Tensors:
    width, tokens = family.width, text(shape)
    embedded: Tensors = {
        "words.weight": ("F32", (tokens.vocabulary, width)), "positions.weight": ("F32", (tokens.length, width)),
    }
    return _join(embedded, _encoder(width, family.depth), _linear("head", width, classes))


def _encoder(width: int, depth: int) -> Tensors:
    return _join(*(_attention_block(f"blocks.{i}", width) for i in range(depth)), _norm("norm", width))


def _attention_block(name: str, width: int) -> Tensors:
    return _join(
        _norm(f"{name}.norm1", width),
        _linear(f"{name}.attention.qkv", width, 3 * width),
        _linear(f"{name}.attention.out", width, width),
        _norm(f"{name}.norm2", width),
        _linear(f"{name}.mlp.0", width, 4 * width),
        _linear(f"{name}.mlp.2", 4 * width, width),
    )


def _norm(name: str, width: int) -> Tensors:
    return {f"{name}.weight": ("F32", (width,)), f"{name}.bias": ("F32", (width,))}


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


@_tensors.register
def tensors_of(family: Exported, shape: InputShape, classes: int) -> Tensors:
    """The weights and statistics of a program, if it is one for such rows."""
    program = family.graph
    asked = ProgramInput(shape=sizes(shape), dtype="I64" if isinstance(shape, Tokens) else "F32")
    if (program.input, program.outputs) != (asked, classes):
        detail = (
            f"the program maps rows of {program.input.dtype} {list(program.input.shape)} to {program.outputs} outputs, "
            f"the data need {asked.dtype} {list(asked.shape)} to {classes}"
        )
        raise BadInput(f"The architecture does not fit the data: {detail}", faults=[Fault("/family/graph", detail)])
    return weights_of(program)
