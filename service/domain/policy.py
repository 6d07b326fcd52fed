"""What a model's owner demands of an unlearning: the ladder of recipes, the audit, the utility guard."""

from collections.abc import Iterable
from typing import Annotated, Literal

from pydantic import Field, model_validator

from service.domain.recipes import Augmentation, Method, NablaTau, Retrain
from service.domain.values import OpenShare, Seed, Value

Signal = Literal["loss", "confidence", "entropy", "modified_entropy"]


class AuditPlan(Value):
    """Written down, and hashed, before anything is scored."""

    signals: Annotated[tuple[Signal, ...], Field(min_length=1)] = ("loss", "confidence", "entropy", "modified_entropy")
    margin: OpenShare = 0.05            # |AUC after − AUC reference| that counts as the same
    utility_margin: OpenShare = 0.015   # drop of holdout accuracy below the reference (or the model before)
    retain_margin: OpenShare = 0.05     # the same on the rows in training, where accuracy is partly memory
    alpha: OpenShare = 0.001            # level of the automatic alarm
    power: OpenShare = 0.8
    permutations: Annotated[int, Field(ge=99, le=999_999)] = 1_999
    bootstrap: Annotated[int, Field(ge=99, le=999_999)] = 2_000
    references: Annotated[int, Field(ge=0, le=64)] = 0      # retrained models to compare with
    reference_augmentation: Augmentation | None = None      # that they are trained with; None: the original's
    seed: Seed = 0


class Policy(Value):
    """The ladder is climbed until an attempt neither leaks nor breaks the utility guard."""

    ladder: Annotated[tuple[Method, ...], Field(min_length=1, max_length=8)] = (NablaTau(), Retrain())
    audit: AuditPlan = AuditPlan()

    def rungs(self, kinds: Iterable[str]) -> tuple[Method, ...]:
        """The part of the ladder that can forget targets of all these kinds."""
        wanted = set(kinds)
        return tuple(method for method in self.ladder if wanted <= method.serves)

    @model_validator(mode="after")
    def _exact_is_last(self) -> "Policy":
        if any(method.name == "retrain" for method in self.ladder[:-1]):
            raise ValueError("retrain is exact, so no rung can follow it")
        return self
