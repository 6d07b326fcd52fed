"""Rung 0, the lineage: which weights became which, from what data and by what recipe; how far they moved."""

from collections.abc import Mapping
from copy import deepcopy
from dataclasses import dataclass
from hashlib import sha256
from typing import Final

import numpy as np
import rfc8785
import torch
from torch import Tensor, nn

from service.domain.recipes import Method, Spec
from service.domain.report import Subject
from service.domain.values import Value
from worker import provenance
from worker.case import Case
from worker.inference import losses
from worker.weights import digest

POINTS: Final = 11      # of the straight line, its ends included
MOST: Final = 2_000     # retain rows that the loss is taken of

State = Mapping[str, Tensor]


@dataclass(frozen=True)
class Lineage:
    """What the caller knows of where the models come from; nothing of it is guessed."""

    method: Method | None = None            # None: unlearned elsewhere
    dataset_sha256: str | None = None
    index_commitment: str | None = None     # salted root over the rows to forget
    absent_from_training: bool | None = None


def subject(case: Case, known: Lineage) -> Subject:
    """The digests, and how far the weights moved."""
    before, after = case.models[0], case.models[1]
    moved = distances(before, after)
    return Subject(
        model_before_sha256=digest(before),
        model_after_sha256=digest(after),
        recipe_sha256=None if case.spec is None else hashed(case.spec),
        algorithm=None if known.method is None else known.method.name,
        algorithm_config_sha256=None if known.method is None else hashed(known.method),
        dataset_sha256=known.dataset_sha256,
        index_commitment=known.index_commitment,
        code_sha256=provenance.code_digest(),
        n_train_before=len(case.forget) + len(case.retain),
        n_train_after=len(case.retain),
        weight_distance=moved and moved[0],
        weight_distance_relative=moved and (moved[0] / moved[1] if moved[1] else 0.0),
        path_barrier=path_barrier(case),
        absent_from_training=known.absent_from_training,
    )


def distances(before: nn.Module, after: nn.Module) -> tuple[float, float] | None:
    """‖θ_after − θ_before‖₂ and ‖θ_before‖₂ over the parameters; None where they differ in name or shape."""
    a, b = dict(before.named_parameters()), dict(after.named_parameters())
    if not alike(a, b):
        return None
    with torch.no_grad():
        moved = sum(float((b[name].double() - w.double().to(b[name].device)).square().sum()) for name, w in a.items())
        size = sum(float(w.double().square().sum()) for w in a.values())
    return moved**0.5, size**0.5


def path_barrier(case: Case) -> float | None:
    """Highest mean loss on the straight line from the old weights to the new, less its higher end, in nats.

    0 where the loss never rises above its ends. Taken over at most 2,000 retain rows, with running statistics on the
    line as well; None where the weights differ in shape, or a loss on the way is not finite.
    """
    a, b = case.models[0].state_dict(), case.models[1].state_dict()
    if not alike(a, b):
        return None
    rows, n = case.sets.retain, len(case.sets.retain)
    index = np.arange(n) if n <= MOST else np.sort(case.rng("path").choice(n, MOST, replace=False))
    model = deepcopy(case.models[0])
    device = next((w.device for w in model.parameters()), rows.x.device)
    part = rows.take(torch.as_tensor(index, device=rows.y.device)).to(device)
    seen: list[float] = []
    for t in np.linspace(0, 1, POINTS):
        model.load_state_dict(between(a, b, float(t)))
        seen.append(float(losses(model, part).double().mean()))
    return max(seen) - max(seen[0], seen[-1]) if np.isfinite(seen).all() else None


def between(a: State, b: State, t: float) -> State:
    """The point of the straight line at t in [0, 1]; whole numbers, as counts of batches, stay the first's."""
    return {name: torch.lerp(w, b[name].to(w), t) if w.is_floating_point() else w for name, w in a.items()}


def alike(a: State, b: State) -> bool:
    """The same names and shapes."""
    return {name: w.shape for name, w in a.items()} == {name: w.shape for name, w in b.items()}


def hashed(value: Spec | Method | Value) -> str:
    """SHA-256 of a frozen value's canonical JSON, in hex."""
    return sha256(rfc8785.dumps(value.model_dump(mode="json"))).hexdigest()
