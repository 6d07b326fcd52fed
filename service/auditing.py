"""Asking for an audit: which versions, which rows, by which plan; refuse what cannot be compared, and queue a job."""

from collections.abc import Sequence
from typing import Annotated

from pydantic import Field
from sqlalchemy.orm import Session

from service import intake
from service.db import audits, jobs, models
from service.db.tables import Audit, Model, ModelVersion
from service.domain.policy import AuditPlan, Policy
from service.domain.requests import Target
from service.domain.values import Name, Value
from service.errors import BadInput, Conflict, Fault

Number = Annotated[int, Field(ge=1, lt=2**31)]


class NewAudit(Value):
    """Which version is to be attacked, and beside which earlier one. The active version serves on meanwhile."""

    model: Name
    version: Annotated[Number | None, Field(description="The active one by default.")] = None
    before: Annotated[Number | None, Field(description="An earlier one; by default the last before `version`.")] = None
    target: Annotated[
        Target | None, Field(description="What should be forgotten; by default what was forgotten since `before`.")
    ] = None
    plan: Annotated[AuditPlan | None, Field(description="The policy's audit by default.")] = None


def submit(tx: Session, body: NewAudit, *, index_key: bytes, max_attempts: int) -> Audit:
    """Store what is asked for and queue its job; versions, rows and plan stay as they are now.

    Raises:
        NotFound, NoVersion, UnknownSamples, UnknownClass, BadInput: and nothing has changed.
    """
    model = models.get(tx, body.model)
    version = models.active(tx, model.id) if body.version is None else models.version(tx, model.id, body.version)
    before = _before(tx, version, body.before)
    _refuse_erased(version, "/version")
    _refuse_erased(before, "/before")
    rows = _rows(tx, model, before, version, body.target, index_key)
    plan = body.plan or Policy.model_validate(model.policy).audit
    job = jobs.add(tx, "audit", max_attempts=max_attempts)      # reads only, so it keeps no other job of the model away
    return audits.add(
        tx, model_id=model.id, before_id=before.id, version_id=version.id, job_id=job.id, rows=rows, plan=plan,
        target_kind=None if body.target is None else body.target.kind,
    )


def _before(tx: Session, version: ModelVersion, number: int | None) -> ModelVersion:
    found = models.predecessor(tx, version) if number is None else models.version(tx, version.model_id, number)
    if found is None:
        raise _refusal("/before", f"version {version.number} is the first, and there is none to compare it with")
    if found.number >= version.number:
        raise _refusal("/before", f"it has to be an earlier version than {version.number}")
    return found


def _refuse_erased(version: ModelVersion, pointer: str) -> None:
    if version.erased_at is not None:
        raise _refusal(pointer, f"the weights of version {version.number} are erased")


def _rows(
    tx: Session, model: Model, before: ModelVersion, version: ModelVersion, target: Target | None, index_key: bytes
) -> Sequence[int]:
    if target is not None:
        return intake.resolve(tx, model, target, index_key)
    rows = audits.rows_forgotten(tx, model.id, after=before.number, upto=version.number)
    if not rows:
        raise _refusal(
            "/target", f"since version {before.number} this service has made the model forget nothing: name the rows"
        )
    return rows


def _refusal(pointer: str, detail: str) -> BadInput:
    return BadInput(f"There is nothing to compare: {detail}", faults=[Fault(pointer, detail)])


def cancel(tx: Session, audit: Audit) -> None:
    """Stop it and its children: at once, or within a step of its worker.

    Raises:
        Conflict: it has ended.
    """
    if jobs.lock(tx, audit.job_id).status not in jobs.OPEN:
        raise Conflict("An audit that has ended cannot be cancelled")
    jobs.cancel(tx, audit.job_id)
