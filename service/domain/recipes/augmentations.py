"""What may be done to rows before a model is trained on them; never to those that it is judged by."""

from typing import Annotated, Literal

from pydantic import Field

from service.domain.values import OpenShare, Rate, Value


class NoAugmentation(Value):
    """Rows as they are."""

    name: Literal["none"] = "none"


class CropFlip(Value):
    """A random crop after padding with black, and a mirror image half of the time: the usual one of CIFAR papers."""

    name: Literal["crop_flip"] = "crop_flip"
    padding: Annotated[int, Field(gt=0, le=64)] = 4


class Trivial(Value):
    """One random operation of a random strength per picture, after crop and flip (Müller, Hutter 2021)."""

    name: Literal["trivial"] = "trivial"


class RandAugment(Value):
    """`n` random operations of strength `m` of 30 per picture, after crop and flip (Cubuk et al. 2020)."""

    name: Literal["randaugment"] = "randaugment"
    n: Annotated[int, Field(gt=0, le=8)] = 2
    m: Annotated[int, Field(gt=0, le=30)] = 9


class Cutout(Value):
    """A square of this share of the side is made black, after crop and flip (DeVries, Taylor 2017)."""

    name: Literal["cutout"] = "cutout"
    side: OpenShare = 0.5


class Mixup(Value):
    """Pairs of rows are blended, inputs and losses alike, with weights drawn from Beta(α, α) (Zhang et al. 2018)."""

    name: Literal["mixup"] = "mixup"
    alpha: Rate = 1.0


Augmentation = Annotated[
    NoAugmentation | CropFlip | Trivial | RandAugment | Cutout | Mixup, Field(discriminator="name")
]
