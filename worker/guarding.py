r"""Watch a run that ascends: stop it, or take it back to its last good weights.

Ascent Fails to Forget. Mavrothalassitis, Puigdemont, Levi, Cevher. NeurIPS 2025. arXiv:2509.26427.

    R1  stop        L_F ≥ L_V  or  acc_F ≤ acc_V, V weighted to F's classes
    R2  roll back   acc_V < acc_V(0) − tolerance · SE, or a loss is not finite; of a regression −L_V in acc_V's place
    R3  stop        ΔL_V / ΔL_F > collateral over the last three epochs
    R4  roll back   ‖θ − θ₀‖ > radius

Differs from the paper: it shows what goes wrong and names no procedure; the rules are ours. In R1 L_V is never above,
nor acc_V below, what the original model had: a model that breaks must not raise its own target.
Limit: ∇τ shocks the model at first and recovers; on the hospital's rows R2 would end it after its first epoch. What is
bounded by a target of its own needs no guard.
The rule that ended a run stands in the last entry of its log as `guard_rule`, 1 to 4.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum
from math import isfinite, sqrt
from typing import Any, Final

import torch
from torch import Tensor, nn

from service.domain.recipes import AscentGuard, Descent, Method
from worker import unseen
from worker.data import Split

WINDOW: Final = 3       # epochs that R3 looks back: one is noise, and many are late
RISE: Final = 0.01      # share of the first L_V − L_F that L_F must have risen by, for R3's ratio to have a meaning


class Rule(IntEnum):
    """Which rule ended a run."""

    UNSEEN = 1
    VALIDATION = 2
    COLLATERAL = 3
    RADIUS = 4


ROLLS_BACK: Final = (Rule.VALIDATION, Rule.RADIUS)


@dataclass(frozen=True)
class Glance:
    """What one look at the model saw."""

    forget: float                           # L_F
    unseen: float                           # L_V
    matched: tuple[float, float] | None     # L_F and L_V at equal shares of the classes; None: no class in common
    right: tuple[float, float] | None       # acc_F and acc_V, likewise; None: a regression as well
    score: float                            # what R2 watches
    error: float                            # its standard error


class Watch:
    """What the guard remembers of one run."""

    def __init__(self, model: nn.Module, data: Split, guard: AscentGuard) -> None:
        self.data, self.guard = data, guard
        self.weights = unseen.match(data.forget, data.validation)
        self.start, self.origin = self._glance(model), [w.detach().clone() for w in model.parameters()]
        self.good = kept(model)
        self.losses = [[self.start.forget, self.start.unseen]]      # L_F and L_V after each of the last epochs

    def goes_on(self, model: nn.Module, log: Sequence[dict[str, float]]) -> bool:
        """Look at the model after an epoch; False ends the run, at the last good weights where the rule says so."""
        now = self._glance(model)
        self.losses = [*self.losses[-WINDOW:], [now.forget, now.unseen]]
        rule = self._broken(model, now)
        if rule is None:
            self.good = kept(model)
        elif rule in ROLLS_BACK:
            give_back(model, self.good)
        if log:
            log[-1].update({"validation_loss": now.unseen} | ({} if rule is None else {"guard_rule": float(rule)}))
        return rule is None

    def state_dict(self) -> dict[str, Any]:
        """For a run that is taken up again; what it began with is looked at anew."""
        return {"good": self.good, "losses": self.losses}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from there."""
        self.good, self.losses = state["good"], state["losses"]

    def _broken(self, model: nn.Module, now: Glance) -> Rule | None:
        """The rule that ends the run; a broken model is taken back even where it could be stopped."""
        guard = self.guard
        least = self.start.score - guard.tolerance * self.start.error
        if not (isfinite(now.forget) and isfinite(now.unseen)) or now.score < least:
            return Rule.VALIDATION
        if guard.radius is not None and distance(model, self.origin) > guard.radius:
            return Rule.RADIUS
        if guard.stop_when_unseen and reached(now, self.start):
            return Rule.UNSEEN
        costly = guard.collateral is not None and self._collateral() > guard.collateral
        return Rule.COLLATERAL if costly else None

    def _collateral(self) -> float:
        """ΔL_V / ΔL_F; 0 while the forget loss has hardly moved."""
        (F, V), (F_now, V_now) = self.losses[0], self.losses[-1]
        least = RISE * max(self.start.unseen - self.start.forget, 0.0)
        return (V_now - V) / (F_now - F) if F_now - F > least else 0.0

    def _glance(self, model: nn.Module) -> Glance:
        known, w = unseen.look(model, self.data.forget, self.data.validation), self.weights
        both, values = w.rows[0] > 0, known.unseen_hits if known.unseen_hits is not None else -known.unseen_losses
        losses = unseen.mean(known.forget_losses, w.forget), unseen.mean(known.unseen_losses, w.unseen)
        right = None
        if both and known.forget_hits is not None and known.unseen_hits is not None:
            right = unseen.mean(known.forget_hits, w.forget), unseen.mean(known.unseen_hits, w.unseen)
        return Glance(
            forget=known.forget_losses.mean().item(), unseen=known.unseen_losses.mean().item(),
            matched=losses if both else None, right=right, score=values.double().mean().item(),
            error=standard_error(values, least=0.0 if known.unseen_hits is None else 1 / len(values)),
        )


def watch(model: nn.Module, data: Split, method: Method) -> Watch | None:
    """The recipe's guard over this run; None where it asks for none."""
    guard = method.guard if isinstance(method, Descent) else None
    return None if guard is None else Watch(model, data, guard)


def reached(now: Glance, start: Glance) -> bool:
    """Whether the forget rows are no better known than unseen rows, now or in the original model."""
    if now.matched is None or start.matched is None:
        return False
    by_loss = now.matched[0] >= min(now.matched[1], start.matched[1])
    if now.right is None or start.right is None:
        return by_loss
    return by_loss or now.right[0] <= max(now.right[1], start.right[1])


def standard_error(values: Tensor, *, least: float) -> float:
    """Of the mean; a model that has all rows right may still lose one."""
    return max(values.double().std(correction=0).item() / sqrt(len(values)), least)


@torch.no_grad()
def distance(model: nn.Module, origin: Sequence[Tensor]) -> float:
    """‖θ − θ₀‖."""
    moved = [(w - o).square().sum() for w, o in zip(model.parameters(), origin, strict=True)]
    return torch.stack(moved).sum().sqrt().item()


def kept(model: nn.Module) -> dict[str, Tensor]:
    """A copy of all weights and buffers."""
    return {name: t.detach().clone() for name, t in model.state_dict().items()}


@torch.no_grad()
def give_back(model: nn.Module, good: dict[str, Tensor]) -> None:
    """Write the copy into the model's own tensors."""
    for name, t in model.state_dict().items():
        t.copy_(good[name])
