"""THE MENU: one class per model family, mask and method. REST schema, CLI flags and tests follow from it."""

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from service.domain.values import Count, OpenShare, Rate, Seed, Share, Value

# ---- what goes in ---------------------------------------------------------------------------------------------------


class Vector(Value):
    """Rows are lists of `features` floats."""

    kind: Literal["vector"] = "vector"
    features: Annotated[int, Field(gt=0, le=65_536)]


class Image(Value):
    """Rows are pictures of one size, scaled to [0, 1]."""

    kind: Literal["image"] = "image"
    channels: Literal[1, 3]
    height: Annotated[int, Field(gt=0, le=1024)]
    width: Annotated[int, Field(gt=0, le=1024)]


InputShape = Annotated[Vector | Image, Field(discriminator="kind")]

# ---- model families -------------------------------------------------------------------------------------------------


class Logistic(Value):
    """Multinomial logistic regression."""

    name: Literal["logistic"] = "logistic"


class Mlp(Value):
    """Fully connected layers with ReLU."""

    name: Literal["mlp"] = "mlp"
    hidden: Annotated[tuple[Annotated[int, Field(gt=0, le=8192)], ...], Field(min_length=1, max_length=8)] = (256, 256)


class Cnn(Value):
    """Three convolution blocks (3×3, ReLU, pooling) and a linear head; no normalisation layers."""

    name: Literal["cnn"] = "cnn"
    width: Annotated[int, Field(gt=0, le=512)] = 32


class ResNet18(Value):
    """ResNet-18 with the CIFAR stem: a 3×3 convolution of stride 1, no max-pooling."""

    name: Literal["resnet18"] = "resnet18"
    width: Annotated[int, Field(gt=0, le=256)] = 64


Family = Annotated[Logistic | Mlp | Cnn | ResNet18, Field(discriminator="name")]

# ---- how a model is trained -----------------------------------------------------------------------------------------


class Sgd(Value):
    """Stochastic gradient descent with momentum."""

    name: Literal["sgd"] = "sgd"
    lr: Rate = 0.1
    momentum: Share = 0.9
    weight_decay: Annotated[float, Field(ge=0, le=1)] = 5e-4


class AdamW(Value):
    """Adam with decoupled weight decay."""

    name: Literal["adamw"] = "adamw"
    lr: Rate = 1e-3
    weight_decay: Annotated[float, Field(ge=0, le=1)] = 0.01


Optimizer = Annotated[Sgd | AdamW, Field(discriminator="name")]


class Training(Value):
    """A training recipe: same recipe, same rows, same seed, same device → same weights."""

    optimizer: Optimizer = AdamW()
    schedule: Literal["constant", "linear", "cosine"] = "constant"
    epochs: Annotated[int, Field(gt=0, le=10_000)] = 30
    batch: Annotated[int, Field(gt=0, le=65_536)] = 128
    seed: Seed = 0


class Spec(Value):
    """Everything that retraining from scratch needs besides the rows."""

    family: Family
    training: Training = Training()
    input: InputShape
    classes: Annotated[int, Field(ge=2, le=100_000)]


# ---- masks ----------------------------------------------------------------------------------------------------------


class NoMask(Value):
    """Every weight may move."""

    name: Literal["none"] = "none"


class AndMask(Value):
    """Only coordinates on which the forget and the retain gradient agree in sign (Dine et al. 2025)."""

    name: Literal["and"] = "and"


class ProbMask(Value):
    """Only coordinates whose true gradients agree with probability ≥ p (Dine et al. 2025)."""

    name: Literal["prob"] = "prob"
    p: OpenShare = 0.3
    variance: Literal["paper", "adam"] = "paper"


Mask = Annotated[NoMask | AndMask | ProbMask, Field(discriminator="name")]

# ---- unlearning methods; `serves` names the kinds of targets that a method can forget -------------------------------

ROWS = frozenset({"samples", "subjects"})


class NablaTau(Value):
    """Adaptive ascent towards the losses of unseen rows, with retain descent (Trippa et al. 2024)."""

    serves: ClassVar[frozenset[str]] = ROWS     # its target, unseen rows of all classes, still knows a removed class

    name: Literal["nabla_tau"] = "nabla_tau"
    target: Literal["mean", "quantile"] = "quantile"    # mean: as published; quantile: ours, see the method's file
    alpha0: Share | None = None     # None: 5/3·ρ for the mean (the paper's rule), .5 for the quantiles
    passes: Annotated[float, Field(gt=0, le=100)] = 3.0    # over the retain rows
    batch: Count = 256
    lr: Rate | None = None          # None: 1e-3 for the mean (the paper's), 2e-3 for the quantiles
    refresh: Count = 5              # forget-epochs between two looks at the validation losses
    mask: Mask = NoMask()


class Retrain(Value):
    """Train anew from scratch on the retain rows: exact, and the last rung of every ladder."""

    serves: ClassVar[frozenset[str]] = ROWS | {"classes"}

    name: Literal["retrain"] = "retrain"


Method = Annotated[NablaTau | Retrain, Field(discriminator="name")]
