"""What the end of a job means for the resource that it worked for."""

from collections.abc import Sequence

from sqlalchemy.orm import Session

from service.db import datasets, deletion_requests
from service.db.tables import DeletionRequest, Job
from service.domain.requests import State


def settle(tx: Session, job: Job, *, cancelled: bool) -> Sequence[DeletionRequest]:
    """A job ended without success: its data set is unusable, or its requests have failed or are cancelled.

    Returns:
        The requests that have failed by it.
    """
    if job.kind == "index" and job.dataset_id is not None:
        datasets.mark(tx, job.dataset_id, status="failed")
    live = deletion_requests.live(tx, job.id)
    for request in live:
        deletion_requests.move(tx, request, State.CANCELLED if cancelled else State.FAILED)
    return () if cancelled else live
