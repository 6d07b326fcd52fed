"""The job protocol: enqueue, claim, beat, park, finish. Every statement that matters carries the fence.

A job may have children: it is parked until the last of them has ended, and then sent again. Whoever locks a child and
its parent locks the parent first, so that the two never wait for each other.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Literal
from uuid import UUID, uuid4

from sqlalchemy import ColumnElement, and_, case, exists, func, insert, not_, or_, select, text, update
from sqlalchemy.orm import Session, aliased

from service.db.tables import Job, Outbox
from service.errors import Cancelled, LostLease, NotFound

Kind = Literal["index", "train", "unlearn", "audit", "reference", "recipe", "shadows", "canaries", "erase"]
OPEN = ("queued", "running", "waiting")
HOLDING = ("running", "waiting")    # of these, one at a time for a model
clock = func.clock_timestamp()      # now() is the start of the transaction, not the present
WAKE = "expunge_outbox"             # the scheduler listens; a lost notification costs one poll


@dataclass(frozen=True, slots=True)
class Claim:
    """The right to write on behalf of a job, as long as its fence stands."""

    job_id: UUID
    fence: int


@dataclass(frozen=True, slots=True)
class Child:
    """A part of a job's work that any worker may do."""

    kind: Kind
    payload: Mapping[str, Any]


def add(
    tx: Session,
    kind: Kind,
    *,
    max_attempts: int,
    dataset_id: UUID | None = None,
    model_id: UUID | None = None,
    after_id: UUID | None = None,
    payload: Mapping[str, Any] | None = None,
    not_before: datetime | None = None,
) -> Job:
    """A queued job, and its message unless it has to wait for another job or for its time; see `reaping.resend`."""
    job = Job(
        kind=kind, max_attempts=max_attempts, dataset_id=dataset_id, model_id=model_id, after_id=after_id,
        payload=dict(payload or {}), not_before=not_before,
    )
    tx.add(job)
    tx.flush()
    if not_before is None and (after_id is None or _succeeded(tx, after_id)):
        send(tx, job.id, kind)
    return job


def _succeeded(tx: Session, job_id: UUID) -> bool:
    """Whether it has; its row stays locked, so that it cannot finish between this look and our commit."""
    return lock(tx, job_id).status == "succeeded"


def send(tx: Session, job_id: UUID, queue: str) -> None:
    """Put a message into the outbox and wake the scheduler at commit."""
    tx.execute(insert(Outbox).values(id=uuid4(), job_id=job_id, queue=queue))
    wake(tx)


def wake(tx: Session) -> None:
    """Let the scheduler look at once, when this transaction commits."""
    tx.execute(text(f"NOTIFY {WAKE}"))


def get(tx: Session, job_id: UUID) -> Job:
    job = tx.get(Job, job_id)
    if job is None:
        raise NotFound("There is no job of this id")
    return job


def lock(tx: Session, job_id: UUID) -> Job:
    """The job, its row (and its parent's) locked until the caller's transaction ends."""
    _lock_parent(tx, job_id)
    job = tx.scalar(select(Job).where(Job.id == job_id).with_for_update())
    if job is None:
        raise NotFound("There is no job of this id")
    return job


def _lock_parent(tx: Session, job_id: UUID) -> None:
    parent = select(Job.parent_id).where(Job.id == job_id).scalar_subquery()
    tx.execute(select(Job.id).where(Job.id == parent).with_for_update())


def of_dataset(tx: Session, dataset_id: UUID) -> UUID | None:
    """The job that makes this data set ready, for jobs that have to wait: the last that indexes it or plants in it."""
    planting = and_(Job.kind == "canaries", Job.status.not_in(["failed", "cancelled"]))
    makes_ready = select(Job.id).where(Job.dataset_id == dataset_id, or_(Job.kind == "index", planting))
    return tx.scalar(makes_ready.order_by(Job.created_at.desc()).limit(1))


def children(tx: Session, job_id: UUID) -> Sequence[Job]:
    """All that the job ever had, oldest first."""
    return tx.scalars(select(Job).where(Job.parent_id == job_id).order_by(Job.created_at, Job.id)).all()


def _claimable() -> ColumnElement[bool]:
    other = aliased(Job)
    free = or_(Job.status == "queued", and_(Job.status == "running", Job.lease_until < clock), served())
    busy = exists().where(other.model_id == Job.model_id, other.status.in_(HOLDING), other.id != Job.id)
    return and_(free, Job.attempt < Job.max_attempts, not_(Job.cancel_requested), not_(busy), ready())


def ready() -> ColumnElement[bool]:
    """Nothing that the job has to wait for is still to be done, and its time has come."""
    first = aliased(Job)
    alone = or_(Job.after_id.is_(None), exists().where(first.id == Job.after_id, first.status == "succeeded"))
    return and_(alone, _due())


def _due() -> ColumnElement[bool]:
    return or_(Job.not_before.is_(None), Job.not_before <= clock)


def served() -> ColumnElement[bool]:
    """Parked, and every child has ended; until somebody takes it, it keeps its model to itself."""
    child = aliased(Job)
    return and_(Job.status == "waiting", not_(exists().where(child.parent_id == Job.id, child.status.in_(OPEN))))


def claim(tx: Session, job_id: UUID, *, lease: timedelta) -> Claim | None:
    """Take the job; None means that somebody holds it or its model, that it has to wait, or that it is over."""
    fence = tx.scalar(
        update(Job)
        .where(Job.id == job_id, _claimable())
        .values(
            status="running",
            attempt=Job.attempt + 1,
            fence=Job.fence + 1,
            error=None,
            lease_until=clock + lease,
            started_at=func.coalesce(Job.started_at, clock),
        )
        .returning(Job.fence)
        .execution_options(synchronize_session=False)
    )
    return None if fence is None else Claim(job_id, fence)


def _held(claim: Claim) -> ColumnElement[bool]:
    return and_(Job.id == claim.job_id, Job.fence == claim.fence, Job.status == "running")


def beat(tx: Session, claim: Claim, *, lease: timedelta, progress: Mapping[str, Any]) -> bool:
    """Extend the lease; returns whether the job was asked to stop.

    Raises:
        LostLease: another worker has the job, or it is over.
    """
    asked = tx.scalar(
        update(Job)
        .where(_held(claim))
        .values(lease_until=clock + lease, progress=dict(progress))
        .returning(Job.cancel_requested)
    )
    if asked is None:
        raise LostLease("The lease of this job has passed to another worker")
    return asked


def hold(tx: Session, claim: Claim) -> Job:
    """Lock the job's row (and its parent's) for the rest of this transaction, so that what it writes is fenced.

    Raises:
        LostLease: another worker has the job, or it is over.
    """
    _lock_parent(tx, claim.job_id)
    job = tx.scalar(select(Job).where(_held(claim)).with_for_update())
    if job is None:
        raise LostLease("The lease of this job has passed to another worker")
    return job


def park(
    tx: Session, claim: Claim, parts: Sequence[Child], *, phase: str, keep: Mapping[str, Any] | None = None
) -> None:
    """Let go of the job until its children have ended, and queue them; this claim costs the job no attempt.

    Args:
        phase: what the job's progress is called meanwhile; children that have ended are counted.
        keep: is added to the job's payload, for whoever goes on.
    Raises:
        LostLease: another worker has the job, or it is over.
        Cancelled: the job was asked to stop.
    """
    job = hold(tx, claim)
    if job.cancel_requested:
        raise Cancelled("The job was asked to stop")
    if not parts or job.parent_id is not None:
        raise ValueError("only a job that is no child itself can wait, and only for children")
    tx.execute(
        update(Job)
        .where(Job.id == job.id)
        .values(
            status="waiting",
            attempt=Job.attempt - 1,
            lease_until=None,
            progress={"phase": phase, "done": 0, "total": len(parts)},
            payload=job.payload | dict(keep or {}),
        )
    )
    for part in parts:
        child = Job(kind=part.kind, max_attempts=job.max_attempts, parent_id=job.id, payload=dict(part.payload))
        tx.add(child)
        tx.flush()
        send(tx, child.id, child.kind)


End = Literal["succeeded", "failed", "cancelled"]


def finish(
    tx: Session, claim: Claim, *, status: End, error: str | None = None, result: Mapping[str, Any] | None = None
) -> None:
    """End the job; wake what waited for it or for its model."""
    job = hold(tx, claim)
    end(tx, job, status=status, error=error, result=result or {})


def postpone(tx: Session, claim: Claim, *, error: str, wait: timedelta) -> None:
    """Let go of the job but not of its lease: the reaper queues it again, or fails it, when the wait is over."""
    hold(tx, claim)
    tx.execute(update(Job).where(Job.id == claim.job_id).values(lease_until=clock + wait, error=error))


def end(tx: Session, job: Job, *, status: End, error: str | None, result: Mapping[str, Any]) -> None:
    """End a job whose row the caller has locked; wake what waited for it or for its model."""
    tx.execute(
        update(Job)
        .where(Job.id == job.id)
        .values(status=status, error=error, result=dict(result), lease_until=None, finished_at=clock)
    )
    _stop_children(tx, job.id)
    if job.parent_id is not None:
        _tell_parent(tx, job.parent_id)
    same_model = and_(Job.model_id.is_not(None), Job.model_id == job.model_id)
    waiting = select(Job.id, Job.kind).where(Job.status == "queued", or_(Job.after_id == job.id, same_model), _due())
    for job_id, kind in tx.execute(waiting).all():
        send(tx, job_id, kind)


def _stop_children(tx: Session, job_id: UUID) -> None:
    """One statement, so that a child that is claimed in the same instant is either cancelled or asked to stop."""
    queued = Job.status == "queued"
    tx.execute(
        update(Job)
        .where(Job.parent_id == job_id, Job.status.in_(OPEN))
        .values(
            status=case((queued, "cancelled"), else_=Job.status),
            finished_at=case((queued, clock), else_=Job.finished_at),
            cancel_requested=True,
        )
        .execution_options(synchronize_session=False)
    )


def _tell_parent(tx: Session, parent_id: UUID) -> None:
    """Count one more child; the last one wakes the parent, whose row is locked here, so two cannot both miss it."""
    parent = tx.get_one(Job, parent_id, populate_existing=True)
    if parent.status != "waiting":
        return
    parent.progress = parent.progress | {"done": parent.progress["done"] + 1}
    tx.flush()
    if tx.scalar(select(Job.id).where(Job.id == parent_id, served())) is not None:
        send(tx, parent_id, parent.kind)
    else:
        wake(tx)


def cancel(tx: Session, job_id: UUID) -> None:
    """Stop it and its children now if no worker has it, or ask its worker to stop within a step."""
    job = lock(tx, job_id)
    if job.status in ("queued", "waiting"):
        end(tx, job, status="cancelled", error=None, result={})
        return
    tx.execute(update(Job).where(Job.id == job_id, Job.status == "running").values(cancel_requested=True))
