"""Queries on audits that were asked for by themselves."""

from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.orm import Session

from service.db.tables import Audit, DeletionRequest, ForgetRow, Job, ModelVersion
from service.domain.policy import AuditPlan
from service.domain.requests import State
from service.errors import NotFound


def add(
    tx: Session, *, model_id: UUID, before_id: UUID, version_id: UUID, job_id: UUID, target_kind: str | None,
    rows: Sequence[int], plan: AuditPlan,
) -> Audit:
    audit = Audit(
        model_id=model_id, before_id=before_id, version_id=version_id, job_id=job_id, target_kind=target_kind,
        rows=list(rows), plan=plan.model_dump(mode="json"),
    )
    tx.add(audit)
    tx.flush()
    return audit


def get(tx: Session, audit_id: UUID) -> Audit:
    audit = tx.get(Audit, audit_id)
    if audit is None:
        raise NotFound("There is no audit of this id")
    return audit


def of_job(tx: Session, job_id: UUID) -> Audit:
    return tx.scalars(select(Audit).where(Audit.job_id == job_id)).one()


def listing(
    tx: Session, *, limit: int, model_id: UUID | None, after: tuple[datetime, UUID] | None
) -> Sequence[Audit]:
    """Newest first; `after` is the (created_at, id) of the last one seen."""
    query = select(Audit).order_by(Audit.created_at.desc(), Audit.id.desc()).limit(limit)
    if model_id is not None:
        query = query.where(Audit.model_id == model_id)
    if after is not None:
        created, last = after
        query = query.where((Audit.created_at < created) | ((Audit.created_at == created) & (Audit.id < last)))
    return tx.scalars(query).all()


def report_forms(tx: Session, request: DeletionRequest) -> dict[str, str]:
    """Form → key of the report that a later audit made and that the request's newest certificate names."""
    json_key = Job.result["report"]["json"].astext
    made = select(Job.result["report"]).join(Audit, Audit.job_id == Job.id).where(
        Audit.version_id == request.version_id, json_key == request.report_key
    )
    return tx.scalars(made.limit(1)).one()


def rows_forgotten(tx: Session, model_id: UUID, *, after: int, upto: int) -> list[int]:
    """Training rows that versions after the one number, up to and with the other, were made to forget."""
    rows = (
        select(ForgetRow.row)
        .join(DeletionRequest, DeletionRequest.id == ForgetRow.request_id)
        .join(ModelVersion, ModelVersion.id == DeletionRequest.version_id)
        .where(
            DeletionRequest.model_id == model_id, DeletionRequest.state == State.CERTIFIED,
            ModelVersion.number > after, ModelVersion.number <= upto,
        )
    )
    return list(tx.scalars(rows.distinct().order_by(ForgetRow.row)))
