"""How a model is trained, and everything that training it anew needs besides the rows."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from service.domain.recipes.augmentations import Augmentation, NoAugmentation
from service.domain.recipes.families import Family
from service.domain.recipes.shapes import InputShape
from service.domain.values import Rate, Seed, Share, Value

Task = Literal["classification", "multi_label", "regression"]


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
    augmentation: Augmentation = NoAugmentation()
    seed: Seed = 0


class Spec(Value):
    """Everything that retraining from scratch needs besides the rows."""

    family: Family
    training: Training = Training()
    input: InputShape
    task: Task = "classification"
    classes: Annotated[int, Field(ge=1, le=100_000)]    # outputs: classes, labels, or the one number of a regression

    def seeded(self, seed: int) -> "Spec":
        """The same recipe with another seed."""
        return self.model_copy(update={"training": self.training.model_copy(update={"seed": seed})})

    def augmented(self, augmentation: Augmentation | None) -> "Spec":
        """The same recipe with another augmentation; with its own where none is named."""
        if augmentation is None:
            return self
        return self.model_copy(update={"training": self.training.model_copy(update={"augmentation": augmentation})})

    @model_validator(mode="after")
    def _outputs_fit_the_task(self) -> "Spec":
        if self.task == "classification" and self.classes < 2:
            raise ValueError("a classification has two classes at least")
        if self.task == "regression" and self.classes != 1:
            raise ValueError("a regression has one output: classes = 1")
        return self
