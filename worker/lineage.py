"""Rung 0, the lineage: which weights became which, from what data and by what recipe; how far they moved."""

from dataclasses import dataclass
from hashlib import sha256

import rfc8785
import torch
from torch import nn

from service.domain.recipes import Method, Spec
from service.domain.report import Subject
from service.domain.values import Value
from worker import provenance
from worker.case import Case
from worker.checkpoint import digest


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
    moved, size = distances(before, after)
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
        weight_distance=moved,
        weight_distance_relative=moved / size if size else 0.0,
        path_barrier=None,
        absent_from_training=known.absent_from_training,
    )


def distances(before: nn.Module, after: nn.Module) -> tuple[float, float]:
    """‖θ_after − θ_before‖₂ and ‖θ_before‖₂ over the parameters."""
    pairs = list(zip(before.parameters(), after.parameters(), strict=True))
    with torch.no_grad():
        moved = sum(float((b.double() - a.double()).square().sum()) for a, b in pairs)
        size = sum(float(a.double().square().sum()) for a, _ in pairs)
    return moved**0.5, size**0.5


def hashed(value: Spec | Method | Value) -> str:
    """SHA-256 of a frozen value's canonical JSON, in hex."""
    return sha256(rfc8785.dumps(value.model_dump(mode="json"))).hexdigest()
