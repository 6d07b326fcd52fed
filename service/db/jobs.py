"""The job protocol: enqueue, claim, beat, finish, reap. Every statement that matters carries the fence."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Literal
from uuid import UUID, uuid4

from sqlalchemy import ColumnElement, and_, exists, func, insert, not_, or_, select, text, update
from sqlalchemy.orm import Session, aliased

from service.db.tables import Job, Outbox
from service.errors import LostLease, NotFound

Kind = Literal["index", "train", "unlearn"]
clock = func.clock_timestamp()      # now() is the start of the transaction, not the present
WAKE = "expunge_outbox"             # the scheduler listens; a lost notification costs one poll


@dataclass(frozen=True, slots=True)
class Claim:
    """The right to write on behalf of a job, as long as its fence stands."""

    job_id: UUID
    fence: int


def add(
    tx: Session,
    kind: Kind,
    *,
    max_attempts: int,
    dataset_id: UUID | None = None,
    model_id: UUID | None = None,
    after_id: UUID | None = None,
) -> Job:
    """A queued job, and its message unless it has to wait for another job."""
    job = Job(kind=kind, max_attempts=max_attempts, dataset_id=dataset_id, model_id=model_id, after_id=after_id)
    tx.add(job)
    tx.flush()
    if after_id is None or _succeeded(tx, after_id):
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
    """The job, its row locked until the caller's transaction ends."""
    job = tx.scalar(select(Job).where(Job.id == job_id).with_for_update())
    if job is None:
        raise NotFound("There is no job of this id")
    return job


def of_dataset(tx: Session, dataset_id: UUID) -> UUID | None:
    """The job that indexes this data set, for jobs that have to wait for it."""
    return tx.scalar(select(Job.id).where(Job.dataset_id == dataset_id, Job.kind == "index"))


def _claimable() -> ColumnElement[bool]:
    other = aliased(Job)
    free = or_(Job.status == "queued", and_(Job.status == "running", Job.lease_until < clock))
    busy = exists().where(other.model_id == Job.model_id, other.status == "running", other.id != Job.id)
    return and_(free, Job.attempt < Job.max_attempts, not_(Job.cancel_requested), not_(busy), _ready())


def _ready() -> ColumnElement[bool]:
    """Nothing that the job has to wait for is still to be done."""
    first = aliased(Job)
    return or_(Job.after_id.is_(None), exists().where(first.id == Job.after_id, first.status == "succeeded"))


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
    """Lock the job's row for the rest of this transaction, so that what it writes is fenced.

    Raises:
        LostLease: another worker has the job, or it is over.
    """
    job = tx.scalar(select(Job).where(_held(claim)).with_for_update())
    if job is None:
        raise LostLease("The lease of this job has passed to another worker")
    return job


End = Literal["succeeded", "failed", "cancelled"]


def finish(
    tx: Session, claim: Claim, *, status: End, error: str | None = None, result: Mapping[str, Any] | None = None
) -> None:
    """End the job; wake what waited for it or for its model."""
    job = hold(tx, claim)
    _end(tx, job, status=status, error=error, result=result or {})


def postpone(tx: Session, claim: Claim, *, error: str, wait: timedelta) -> None:
    """Let go of the job but not of its lease: the reaper queues it again, or fails it, when the wait is over."""
    hold(tx, claim)
    tx.execute(update(Job).where(Job.id == claim.job_id).values(lease_until=clock + wait, error=error))


def _end(tx: Session, job: Job, *, status: End, error: str | None, result: Mapping[str, Any]) -> None:
    tx.execute(
        update(Job)
        .where(Job.id == job.id)
        .values(status=status, error=error, result=dict(result), lease_until=None, finished_at=clock)
    )
    same_model = and_(Job.model_id.is_not(None), Job.model_id == job.model_id)
    waiting = select(Job.id, Job.kind).where(Job.status == "queued", or_(Job.after_id == job.id, same_model))
    for job_id, kind in tx.execute(waiting).all():
        send(tx, job_id, kind)


def cancel(tx: Session, job_id: UUID) -> None:
    """Stop it now if it is queued, or ask its worker to stop within a step."""
    job = lock(tx, job_id)
    if job.status == "queued":
        _end(tx, job, status="cancelled", error=None, result={})
        return
    tx.execute(update(Job).where(Job.id == job_id, Job.status == "running").values(cancel_requested=True))


def reap(tx: Session) -> list[Job]:
    """Queue again what lost its worker; returns the jobs that have no attempts left, now failed.

    A job that was asked to stop and lost its worker is returned too, as cancelled.
    """
    lost = tx.scalars(
        select(Job).where(Job.status == "running", Job.lease_until < clock).with_for_update(skip_locked=True)
    ).all()
    ended: list[Job] = []
    for job in lost:
        if job.cancel_requested:
            _end(tx, job, status="cancelled", error=None, result={})
            ended.append(job)
        elif job.attempt >= job.max_attempts:
            error = job.error or "Its worker was lost"
            _end(tx, job, status="failed", error=f"{error} (attempt {job.attempt} of {job.max_attempts})", result={})
            ended.append(job)
        else:
            tx.execute(update(Job).where(Job.id == job.id).values(status="queued", lease_until=None))
            send(tx, job.id, job.kind)
    return ended


def fail_dependents(tx: Session) -> list[Job]:
    """Fail every queued job whose predecessor ended without success."""
    first = aliased(Job)
    orphans = tx.scalars(
        select(Job)
        .join(first, first.id == Job.after_id)
        .where(Job.status == "queued", first.status.in_(["failed", "cancelled"]))
        .with_for_update(skip_locked=True, of=Job)
    ).all()
    for job in orphans:
        _end(tx, job, status="failed", error="The job that it waited for did not succeed", result={})
    return list(orphans)


def resend(tx: Session, *, silent_for: timedelta) -> int:
    """New messages for queued jobs that nobody has taken for a while: a message or a whole broker may be lost."""
    recent = exists().where(Outbox.job_id == Job.id, or_(Outbox.sent_at.is_(None), Outbox.sent_at > clock - silent_for))
    quiet = tx.execute(select(Job.id, Job.kind).where(Job.status == "queued", not_(recent), _ready())).all()
    for job_id, kind in quiet:
        send(tx, job_id, kind)
    return len(quiet)
