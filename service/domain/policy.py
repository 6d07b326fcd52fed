"""What a model's owner demands of an unlearning: the ladder of recipes, the audit, the utility guard."""

from collections.abc import Iterable
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from service.domain.recipes import Augmentation, Method, NablaTau, Population, Reference, Relearning, Retrain, Rung
from service.domain.values import OpenShare, Seed, Value

Signal = Literal["loss", "confidence", "entropy", "modified_entropy", "correctness", "margin"]
RelativeSignal = Literal["calibrated", "rmia"]      # of a row, beside what retrained models say to it
ScoredSignal = Literal[Signal, RelativeSignal]
SIGNALS: tuple[Signal, ...] = ("loss", "confidence", "entropy", "modified_entropy", "correctness", "margin")
RELATIVE: tuple[RelativeSignal, ...] = ("calibrated", "rmia")
REFERENCES = 4      # where a rung needs retrained models and nobody says how many


class AuditPlan(Value):
    """Written down, and hashed, before anything is scored."""

    rungs: Annotated[tuple[Rung, ...], Field(min_length=1, max_length=8)] = (Population(), Relearning())
    signals: Annotated[tuple[Signal, ...], Field(min_length=1)] = SIGNALS
    margin: OpenShare = 0.05            # |AUC after − AUC reference| that counts as the same
    utility_margin: OpenShare = 0.015   # drop of holdout accuracy below the reference (or the model before)
    retain_margin: OpenShare = 0.05     # the same on the rows in training, where accuracy is partly memory
    alpha: OpenShare = 0.001            # level of the automatic alarm
    power: OpenShare = 0.8
    permutations: Annotated[int, Field(ge=99, le=999_999)] = 1_999
    bootstrap: Annotated[int, Field(ge=99, le=999_999)] = 2_000
    references: Annotated[int, Field(ge=0, le=64)] = 0      # retrained models; 4 where a rung needs some
    reference_augmentation: Augmentation | None = None      # that they are trained with; None: the original's
    seed: Seed = 0

    @property
    def scored(self) -> tuple[ScoredSignal, ...]:
        """Every signal that the verdict rests on."""
        relative = any(isinstance(rung, Reference) for rung in self.rungs)
        return (*self.signals, *RELATIVE) if relative else self.signals

    @model_validator(mode="before")
    @classmethod
    def _with_references(cls, told: Any) -> Any:
        if not isinstance(told, dict) or "references" in told or not isinstance(told.get("rungs"), list | tuple):
            return told
        named = {each.get("name") if isinstance(each, dict) else getattr(each, "name", None) for each in told["rungs"]}
        return told | {"references": REFERENCES} if named & NEED_REFERENCES else told

    @model_validator(mode="after")
    def _climbable(self) -> "AuditPlan":
        names = [rung.name for rung in self.rungs]
        if len(set(names)) < len(names):
            raise ValueError("a rung is named twice")
        if "population" not in names:
            raise ValueError("without the rung population there is no verdict")
        for rung in self.rungs:
            if rung.needs > self.references:
                raise ValueError(f"the rung {rung.name} needs at least {rung.needs} references")
        return self


NEED_REFERENCES = {"reference", "oracle_distance", "mia_nn"}


class Erasure(Value):
    """What follows a certificate: everything that still remembers is erased when the grace is over."""

    grace_days: Annotated[float, Field(ge=0, le=90)] = 7    # in which one may go back; the legal date ends it earlier
    rows: bool = True       # of the data set too, as soon as no other model has to forget them; False: keep them


class Policy(Value):
    """The ladder is climbed until an attempt neither leaks nor breaks the utility guard."""

    ladder: Annotated[tuple[Method, ...], Field(min_length=1, max_length=8)] = (NablaTau(), Retrain())
    audit: AuditPlan = AuditPlan()
    erasure: Erasure = Erasure()

    def rungs(self, kinds: Iterable[str]) -> tuple[Method, ...]:
        """The part of the ladder that can forget targets of all these kinds."""
        wanted = set(kinds)
        return tuple(method for method in self.ladder if wanted <= method.serves)

    @model_validator(mode="after")
    def _exact_is_last(self) -> "Policy":
        if any(method.name == "retrain" for method in self.ladder[:-1]):
            raise ValueError("retrain is exact, so no rung can follow it")
        return self
