"""Which weights a step may move: decided once, or anew at every step from the gradients of the two objectives."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Protocol

from torch import Tensor

from worker.gradients import Gradients

Moves = list[Tensor]    # bool, of each weight's shape: True where it may move


class Stateful(Protocol):
    """What a run that is taken up again has to remember; nested dicts and lists of tensors, numbers and text."""

    def state_dict(self) -> dict[str, Any]: ...
    def load_state_dict(self, state: dict[str, Any], /) -> object: ...


@dataclass(frozen=True)
class Opposed:
    """The gradients of one step: of the two objectives that are minimised, and what a gate asked for besides."""

    forget: Gradients                   # ĝ_U
    retain: Gradients                   # ĝ_C
    alpha: float                        # weight of ĝ_U in the sum; 1 − α is that of ĝ_C
    plain: Gradients = field(default_factory=list)              # of the forget batch's own loss
    forget_parts: list[Gradients] = field(default_factory=list)     # of each micro-batch; their mean is ĝ_U
    retain_parts: list[Gradients] = field(default_factory=list)


@dataclass(frozen=True)
class Decision:
    """bool: a weight may move, or keeps its bits whatever the optimiser remembers; float: its update is scaled."""

    shares: list[Tensor]
    seen: dict[str, Tensor] = field(default_factory=dict)       # for the log


@dataclass(frozen=True)
class Gate:
    """Decides at every step."""

    decide: Callable[[Opposed], Decision]
    micro: int = 1                      # micro-batches that each batch is cut into
    plain: bool = False                 # whether it needs the gradient of the forget batch's own loss
    state: Stateful | None = None


@dataclass(frozen=True)
class Held:
    """Decided before the first step."""

    moves: Moves
