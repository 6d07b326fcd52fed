"""Failures in the ledger: a request that ends without a certificate is told of, like one that ends with one."""

from collections.abc import Sequence
from datetime import UTC, datetime
from uuid import UUID

from sqlalchemy.orm import Session

from service.db import endings, jobs, models
from service.db.tables import Job
from service.domain.certificates import SENTENCE, digest
from service.domain.entries import Failed
from service.ledger import append
from service.ledger.keys import Keys


def settle(tx: Session, job: Job, *, cancelled: bool, keys: Keys) -> None:
    """What the end of a job without success means, and an entry for the requests that have failed by it."""
    failed = [request.id for request in endings.settle(tx, job, cancelled=cancelled)]
    if failed:
        _record(tx, jobs.get(tx, job.id), failed, keys)


def _record(tx: Session, job: Job, failed: Sequence[UUID], keys: Keys) -> None:
    subjects, at = _subjects(tx, job), datetime.now(UTC)
    reason = (job.error or "The job failed")[:SENTENCE]     # ours: the text of a stranger's exception is never kept
    for ids in append.parts(failed):
        entry = Failed(request_ids=ids, job_id=job.id, runs=job.attempt, reason=reason, at=at)
        append.record(tx, entry, keys.certificate, subjects=subjects, requests=ids)


def _subjects(tx: Session, job: Job) -> dict[str, str]:
    """The policy that was to be met; the requests' model still remembers, whichever version is in use."""
    return {"policy.json": digest(job.payload.get("policy", models.of_job(tx, job).policy))}
