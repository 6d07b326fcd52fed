"""Jobs, as anyone may watch them."""

from datetime import datetime
from typing import Any
from uuid import UUID

from fastapi import APIRouter
from pydantic import BaseModel

from service.api.deps import Tx
from service.db import jobs
from service.db.tables import Job

router = APIRouter(prefix="/jobs", tags=["jobs"])


class JobView(BaseModel):
    """One run of work. `progress` is {phase, done, total}."""

    id: UUID
    kind: str
    status: str
    attempt: int
    max_attempts: int
    cancel_requested: bool
    progress: dict[str, Any]
    result: dict[str, Any]
    error: str | None
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None

    @classmethod
    def of(cls, job: Job) -> "JobView":
        return cls.model_validate(job, from_attributes=True)


@router.get("/{job_id}")
def get_job(job_id: UUID, tx: Tx) -> JobView:
    """One job: its state, progress and result."""
    return JobView.of(jobs.get(tx, job_id))
