"""Retrained models for an audit: looked up by what they are made of, trained by child jobs where one is missing."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from hashlib import sha256

import numpy as np
import rfc8785
from torch import nn

from service.db import jobs
from service.db import references as kept
from service.db.jobs import Child, Claim
from service.db.session import transaction
from service.db.tables import Job, ReferenceModel
from service.domain.recipes import Spec
from service.errors import Conflict, JobError, NotFound, Unavailable
from worker.jobs.material import Plan
from worker.jobs.workshop import Workshop


@dataclass(frozen=True)
class Reference:
    """A model that never saw the rows, for comparison; never published."""

    model: nn.Module
    seconds: float          # that its training took
    key: str                # in hex; of what it is made


def references(workshop: Workshop, claim: Claim, plan: Plan) -> list[Reference] | None:
    """The retrained models that the plan asks for, each of its own seed, none of them the recipe's own.

    None: some are to be trained first, and the job has been parked until its children have done so.

    Raises:
        JobError: the training of one has failed for good.
    """
    keys = {k: key(plan, seeded(plan, k)) for k in range(1, plan.policy.audit.references + 1)}
    with transaction(workshop.engine) as tx:
        found = kept.find(tx, list(keys.values()))
        missing = {k: key for k, key in keys.items() if key not in found}
        if missing:
            _refuse_failed(jobs.children(tx, claim.job_id), missing.values())
            parts = [Child("reference", {"k": k, "key": key.hex()}) for k, key in missing.items()]
            policy = plan.policy.model_dump(mode="json")
            jobs.park(tx, claim, parts, phase="references", keep={"policy": policy})
            return None
    return [_load(workshop, seeded(plan, k), found[key]) for k, key in keys.items()]


def seeded(plan: Plan, k: int) -> Spec:
    """The recipe of the k-th reference, from 1."""
    own = plan.spec.seeded(plan.spec.training.seed + k)
    return own.augmented(plan.policy.audit.reference_augmentation)


def key(plan: Plan, spec: Spec) -> bytes:
    """SHA-256 over all that a reference is made of: the data set's rows as stored, the recipe, and which rows."""
    if plan.dataset.tensors_key is None:
        raise Conflict("The data set is not indexed")
    rows = np.array(plan.retained, dtype="<i8").tobytes()
    parts = [plan.dataset.tensors_key, spec.model_dump(mode="json"), sha256(rows).hexdigest()]
    return sha256(rfc8785.dumps(parts)).digest()


def _refuse_failed(children: Sequence[Job], missing: Iterable[bytes]) -> None:
    """A child has as many attempts as its parent; what it could not do is not tried again."""
    wanted = {each.hex() for each in missing}
    for child in children:
        if child.payload.get("key") in wanted and child.status in ("failed", "cancelled"):
            raise JobError(f"A model to compare with could not be trained: {child.error or child.status}")


def _load(workshop: Workshop, spec: Spec, known: ReferenceModel) -> Reference:
    try:
        return Reference(workshop.load_weights(spec, known.weights_key), known.seconds, known.key.hex())
    except NotFound:
        with transaction(workshop.engine) as tx:
            if not kept.find(tx, [known.key]):
                raise Unavailable("A model to compare with was erased meanwhile; the job begins anew") from None
        raise
