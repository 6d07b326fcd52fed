"""Model families: architectures that can be trained, unlearned and trained anew."""

from typing import Annotated, Literal

from pydantic import AfterValidator, Field, ValidationInfo

from service.domain.recipes.own import Exported, Python
from service.domain.values import Value

Width = Annotated[int, Field(gt=0, le=8192)]
Depth = Annotated[int, Field(gt=0, le=48)]


def _share_the_width(heads: int, info: ValidationInfo) -> int:
    width = info.data.get("width", 0)
    if width % heads:
        raise ValueError(f"a width of {width} cannot be shared by {heads} heads: make it a multiple")
    return heads


Heads = Annotated[int, Field(gt=0, le=64, validate_default=True), AfterValidator(_share_the_width)]    # after `width`


class Logistic(Value):
    """Multinomial logistic regression."""

    name: Literal["logistic"] = "logistic"


class Mlp(Value):
    """Fully connected layers with ReLU."""

    name: Literal["mlp"] = "mlp"
    hidden: Annotated[tuple[Width, ...], Field(min_length=1, max_length=8)] = (256, 256)


class Cnn(Value):
    """Three convolution blocks (3×3, ReLU, pooling) and a linear head; no normalisation layers."""

    name: Literal["cnn"] = "cnn"
    width: Annotated[int, Field(gt=0, le=512)] = 32


class ResNet18(Value):
    """ResNet-18 with the CIFAR stem: a 3×3 convolution of stride 1, no max-pooling."""

    name: Literal["resnet18"] = "resnet18"
    width: Annotated[int, Field(gt=0, le=256)] = 64


class Vgg16Bn(Value):
    """VGG-16 with batch normalisation and one linear layer as its head."""

    name: Literal["vgg16_bn"] = "vgg16_bn"
    width: Annotated[int, Field(gt=0, le=256)] = 64


class VitTiny(Value):
    """Vision transformer of the size ViT-Ti; `width` is a multiple of `heads`, a picture's sides of `patch`."""

    name: Literal["vit_tiny"] = "vit_tiny"
    patch: Annotated[int, Field(gt=0, le=64)] = 4
    width: Width = 192
    depth: Depth = 12
    heads: Heads = 3


class TextTransformer(Value):
    """A small transformer encoder over the words of a text, averaged; `width` is a multiple of `heads`."""

    name: Literal["text_transformer"] = "text_transformer"
    width: Width = 128
    depth: Depth = 2
    heads: Heads = 4
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.1


Family = Annotated[
    Logistic | Mlp | Cnn | ResNet18 | Vgg16Bn | VitTiny | TextTransformer | Python | Exported,
    Field(discriminator="name"),
]
