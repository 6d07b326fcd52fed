"""Jobs that lost their worker, their predecessor or their message."""

from collections.abc import Iterator
from datetime import timedelta

from sqlalchemy import ColumnElement, and_, exists, not_, or_, select, update
from sqlalchemy.orm import Session, aliased

from service.db.jobs import clock, end, ready, send, served
from service.db.tables import Job, Outbox


def reap(tx: Session) -> list[Job]:
    """Queue again what lost its worker; returns the jobs that have no attempts left, now failed.

    A job that was asked to stop and lost its worker is returned too, as cancelled.
    """
    ended: list[Job] = []
    for job in _lost(tx):
        if job.cancel_requested:
            end(tx, job, status="cancelled", error=None, result={})
            ended.append(job)
        elif job.attempt >= job.max_attempts:
            error = job.error or "Its worker was lost"
            end(tx, job, status="failed", error=f"{error} (attempt {job.attempt} of {job.max_attempts})", result={})
            ended.append(job)
        else:
            tx.execute(update(Job).where(Job.id == job.id).values(status="queued", lease_until=None))
            send(tx, job.id, job.kind)
    return ended


def _lost(tx: Session) -> Iterator[Job]:
    """Running jobs whose lease is over, locked; those that somebody else has locked are left for the next time."""
    over = and_(Job.status == "running", Job.lease_until < clock)
    for job_id, parent_id in tx.execute(select(Job.id, Job.parent_id).where(over)).all():
        if parent_id is not None and _unlocked(tx, Job.id == parent_id) is None:
            continue
        job = _unlocked(tx, Job.id == job_id, over)
        if job is not None:
            yield job


def _unlocked(tx: Session, *wanted: ColumnElement[bool]) -> Job | None:
    query = select(Job).where(*wanted).with_for_update(skip_locked=True)
    return tx.scalar(query.execution_options(populate_existing=True))


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
        end(tx, job, status="failed", error="The job that it waited for did not succeed", result={})
    return list(orphans)


def resend(tx: Session, *, silent_for: timedelta) -> int:
    """New messages for jobs that nobody has taken for a while: a message or a whole broker may be lost."""
    recent = exists().where(Outbox.job_id == Job.id, or_(Outbox.sent_at.is_(None), Outbox.sent_at > clock - silent_for))
    due = or_(and_(Job.status == "queued", ready()), served())
    quiet = tx.execute(select(Job.id, Job.kind).where(due, not_(recent))).all()
    for job_id, kind in quiet:
        send(tx, job_id, kind)
    return len(quiet)
