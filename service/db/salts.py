"""Queries on the salts of requests, and on the commitments that they open."""

from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

from sqlalchemy import ColumnElement, Text, cast, delete, exists, func, select, update
from sqlalchemy.orm import Session

from service.db.tables import CommitmentSalt, DeletionRequest, ForgetRow, Job, Suppressed


def commitments_of(tx: Session, request_id: UUID) -> Sequence[bytes]:
    """Of every sample of a request."""
    return tx.scalars(select(ForgetRow.commitment).where(ForgetRow.request_id == request_id)).all()


_ERASED_LATER = exists().where(
    Job.kind == "erase", Job.status.in_(["queued", "running", "waiting"]), Job.payload["rows"].as_boolean(),
    ~Job.payload.has_key("told"), Job.payload["unlearn"].as_string() == cast(DeletionRequest.job_id, Text),
)


def awaits_erasure(tx: Session, request_id: UUID) -> bool:
    """Whether the index still holds the rows of a request, and will lose them."""
    return bool(tx.scalar(select(_ERASED_LATER).where(DeletionRequest.id == request_id)))


def known(tx: Session, *, request_id: UUID | None, before: datetime) -> Sequence[DeletionRequest]:
    """Requests that ended before a time, await no erasure and whose salt is known, locked: this one, or all."""
    wanted: list[ColumnElement[bool]] = [] if request_id is None else [DeletionRequest.id == request_id]
    return tx.scalars(
        select(DeletionRequest).join(CommitmentSalt, CommitmentSalt.request_id == DeletionRequest.id)
        .where(*wanted, DeletionRequest.ended_at < before, ~_ERASED_LATER)
        .order_by(DeletionRequest.received_at, DeletionRequest.id).with_for_update(of=CommitmentSalt)
    ).all()


def forget(tx: Session, request_id: UUID) -> None:
    """Delete a salt, and all else that tells which commitment, or whose suppression, belongs to the request."""
    tx.execute(delete(CommitmentSalt).where(CommitmentSalt.request_id == request_id))
    tx.execute(update(Suppressed).where(Suppressed.request_id == request_id).values(request_id=None))
    _unpair(tx, request_id)


def _unpair(tx: Session, request_id: UUID) -> None:
    """Give the rows their commitments in order, so that the set stays and says nothing of a row."""
    of_request = ForgetRow.request_id == request_id
    rows = select(ForgetRow.row, func.row_number().over(order_by=ForgetRow.row).label("n")).where(of_request).subquery()
    place = func.row_number().over(order_by=ForgetRow.commitment).label("n")
    ordered = select(ForgetRow.commitment, place).where(of_request).subquery()
    tx.execute(
        update(ForgetRow).where(of_request, ForgetRow.row == rows.c.row, rows.c.n == ordered.c.n)
        .values(commitment=ordered.c.commitment).execution_options(synchronize_session=False)
    )
