"""Audits by themselves: of any version of a model, also of weights that were unlearned elsewhere."""

from datetime import datetime
from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Query, Response
from pydantic import BaseModel, Field
from sqlalchemy.orm import Session

from service import auditing
from service.api import idempotency, reports
from service.api.deps import Ctx, Tx
from service.api.pages import read_token, token
from service.auditing import NewAudit
from service.db import audits, jobs, models
from service.db.tables import Audit
from service.domain.policy import AuditPlan
from service.domain.values import Name
from service.errors import Conflict, NotYet

router = APIRouter(prefix="/audits", tags=["audits"])


class AuditView(BaseModel):
    """An audit and where it stands. It names no person."""

    id: UUID
    model: str
    version: int
    before: int
    target_kind: Annotated[str | None, Field(description="None: what was forgotten since the version before.")]
    n_samples: Annotated[int, Field(description="Training rows that should be forgotten.")]
    plan: AuditPlan
    status: Annotated[str, Field(description="Of its job; waiting: models to compare with are being trained.")]
    verdict: Annotated[str | None, Field(description="Once it has succeeded.")]
    error: str | None
    job_id: UUID
    created_at: datetime
    finished_at: datetime | None
    links: dict[str, str]

    @classmethod
    def of(cls, tx: Session, audit: Audit) -> "AuditView":
        job, here = jobs.get(tx, audit.job_id), f"{router.prefix}/{audit.id}"
        return cls(
            id=audit.id,
            model=models.by_id(tx, audit.model_id).name,
            version=models.version_by_id(tx, audit.version_id).number,
            before=models.version_by_id(tx, audit.before_id).number,
            target_kind=audit.target_kind,
            n_samples=len(audit.rows),
            plan=AuditPlan.model_validate(audit.plan),
            status=job.status,
            verdict=job.result.get("verdict"),
            error=job.error,
            job_id=job.id,
            created_at=audit.created_at,
            finished_at=job.finished_at,
            links={"self": here, "report": f"{here}/report", "job": f"/jobs/{job.id}"},
        )


class AuditList(BaseModel):
    items: list[AuditView]
    next_page_token: Annotated[str, Field(description="Empty at the end.")]


@router.post("", status_code=202)
def add(body: NewAudit, ctx: Ctx, tx: Tx, response: Response, key: idempotency.Key = None) -> AuditView:
    """Audit a version of a model against an earlier one."""
    attempts = ctx.settings.max_attempts

    def submitted() -> AuditView:
        return AuditView.of(tx, auditing.submit(tx, body, index_key=ctx.index_key, max_attempts=attempts))

    return idempotency.once(tx, response, router.prefix, key, body, AuditView, submitted)


@router.get("")
def list_audits(
    tx: Tx,
    model: Name | None = None,
    page_size: Annotated[int, Query(ge=1, le=1000)] = 100,
    page_token: Annotated[str, Query(max_length=200)] = "",
) -> AuditList:
    """Audits, newest first."""
    model_id = None if model is None else models.get(tx, model).id
    found = audits.listing(tx, limit=page_size + 1, model_id=model_id, after=read_token(page_token))
    page, more = found[:page_size], len(found) > page_size
    return AuditList(
        items=[AuditView.of(tx, audit) for audit in page],
        next_page_token=token(page[-1].created_at, page[-1].id) if more else "",
    )


@router.get("/{audit_id}")
def get_audit(audit_id: UUID, tx: Tx) -> AuditView:
    """One audit."""
    return AuditView.of(tx, audits.get(tx, audit_id))


@router.get("/{audit_id}/report", response_class=Response, responses=reports.RESPONSES)
def get_report(audit_id: UUID, tx: Tx, ctx: Ctx, accept: reports.Accept = "*/*") -> Response:
    """The audit's report: JSON, or HTML or PDF by Accept."""
    job = jobs.get(tx, audits.get(tx, audit_id).job_id)
    if job.status in jobs.OPEN:
        raise NotYet("The audit has not ended")
    if job.status != "succeeded":
        raise Conflict(f"The audit has ended without a report: it is {job.status}")
    return reports.respond(ctx, job.result["report"], accept)


@router.post("/{audit_id}/cancel", status_code=202)
def cancel(audit_id: UUID, tx: Tx) -> AuditView:
    """Stop an audit that has not ended, and the training of models for it."""
    audit = audits.get(tx, audit_id)
    auditing.cancel(tx, audit)
    return AuditView.of(tx, audit)
