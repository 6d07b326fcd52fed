"""Claim a job, do its work, and answer for how it ended."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Literal
from uuid import UUID

import structlog
from sqlalchemy.exc import IntegrityError

from service.db import jobs
from service.db.jobs import Claim
from service.db.session import transaction
from service.db.tables import Job
from service.errors import Cancelled, ExpungeError, LostLease, Unavailable
from service.ledger import failures
from service.log import where
from worker.jobs import audit, canaries, erase, index, recipe, reference, train, unlearn
from worker.jobs.pulse import Pulse
from worker.jobs.workshop import Workshop

log = structlog.get_logger()
Work = Callable[[Workshop, Job, Claim, Pulse], None]
WORK: dict[str, Work] = {
    "index": index.run, "canaries": canaries.run, "train": train.run, "unlearn": unlearn.run, "audit": audit.run,
    "reference": reference.run, "recipe": recipe.run, "shadows": recipe.shadows, "erase": erase.run,
}


def run(workshop: Workshop, job_id: UUID) -> None:
    """Do the job if it is there to be taken; a second message about it, or a late one, does nothing."""
    claimed = _claim(workshop, job_id)
    if claimed is None:
        return
    claim, job = claimed
    with structlog.contextvars.bound_contextvars(job_id=str(job_id), kind=job.kind, attempt=job.attempt):
        with Pulse(workshop.engine, claim, lease=workshop.lease) as pulse:
            ending = _do(workshop, job, claim, pulse)
        if ending is not None:
            _write(workshop, job, claim, ending)


@dataclass(frozen=True, slots=True)
class Ending:
    """How an attempt ended that did not end well."""

    status: Literal["failed", "cancelled", "postponed"]
    error: str


def _claim(workshop: Workshop, job_id: UUID) -> tuple[Claim, Job] | None:
    try:
        with transaction(workshop.engine) as tx:
            claim = jobs.claim(tx, job_id, lease=workshop.lease)
            return None if claim is None else (claim, jobs.get(tx, job_id))
    except IntegrityError:      # another job of the model was claimed in the same instant
        return None


def _do(workshop: Workshop, job: Job, claim: Claim, pulse: Pulse) -> Ending | None:
    try:
        WORK[job.kind](workshop, job, claim, pulse)
    except LostLease:
        log.warning("job.lost")
    except Cancelled as stop:
        return Ending("cancelled", stop.detail)
    except Unavailable as away:
        return Ending("postponed", away.detail)
    except ExpungeError as error:
        return Ending("failed", error.detail)
    except Exception as error:      # the message of a stranger may quote data, so only its type is kept
        log.warning("job.unforeseen", error=type(error).__name__, where=where(error))
        return Ending("postponed", f"An unforeseen {type(error).__name__}")
    return None


def _write(workshop: Workshop, job: Job, claim: Claim, ending: Ending) -> None:
    try:
        with transaction(workshop.engine) as tx:
            if ending.status == "postponed":
                jobs.postpone(tx, claim, error=ending.error, wait=timedelta(seconds=5 * job.attempt**2))
                return
            jobs.finish(tx, claim, status=ending.status, error=ending.error)
            failures.settle(tx, job, cancelled=ending.status == "cancelled", keys=workshop.keys)
    except LostLease:
        log.warning("job.lost")
