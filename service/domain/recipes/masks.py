"""Masks: which weights an unlearning step may move. Add-ons to methods with an unlearning and a retain loss."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from service.domain.values import OpenShare, Value

Variance = Literal["paper", "sem", "adam"]      # how the noise of a gradient's coordinate is estimated
MOST = 0.7507   # the probability that the paper's variance can reach after its first step


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
    variance: Variance = "paper"

    @model_validator(mode="after")
    def _something_may_move(self) -> "ProbMask":
        if self.variance == "paper" and self.p > MOST:
            raise ValueError(
                f"with variance=paper no probability exceeds {MOST} after the first step, so p = {self.p} holds every"
                " weight: choose a lower p, or variance=sem or adam"
            )
        return self


class FocusMask(Value):
    """Each coordinate's step is scaled by the probability that the true gradients agree (Dine et al. 2025)."""

    name: Literal["focus"] = "focus"
    variance: Variance = "paper"


class SaliencyMask(Value):
    """Only the `keep` share of weights with the largest forget gradient (Fan et al. 2024).

    global: over all weights, once, before the first step, as published; batch: per tensor, anew at every batch.
    """

    name: Literal["saliency"] = "saliency"
    keep: OpenShare = 0.5
    scope: Literal["global", "batch"] = "global"


class OptMask(Value):
    """The fewest coordinates are held that make the weighted sum of both gradients serve both (Dine et al., code)."""

    name: Literal["opt"] = "opt"
    scope: Literal["tensor", "global"] = "tensor"


Mask = Annotated[NoMask | AndMask | ProbMask | FocusMask | SaliencyMask | OptMask, Field(discriminator="name")]


def paired(mask: Mask) -> bool:
    """Whether it decides anew at each step from both gradients, so that a step needs both losses."""
    return not isinstance(mask, NoMask) and not (isinstance(mask, SaliencyMask) and mask.scope == "global")
