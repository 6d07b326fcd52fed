"""Jobs and the outbox. The row is the truth; a message is only a job id and a hint to wake up."""

from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import CheckConstraint, ForeignKey, Index, text
from sqlalchemy.orm import Mapped, mapped_column

from service.db.tables.base import Base, CreatedAt, Id


class Job(Base):
    __tablename__ = "job"
    __table_args__ = (
        CheckConstraint(
            "kind IN ('index', 'train', 'unlearn', 'audit', 'reference', 'recipe', 'shadows', 'canaries', 'erase')",
            name="kind",
        ),
        CheckConstraint(
            "status IN ('queued', 'running', 'waiting', 'succeeded', 'failed', 'cancelled')", name="status"
        ),
        Index(
            "ix_job_one_running_per_model", "model_id", unique=True,
            postgresql_where=text("status IN ('running', 'waiting')"),
        ),
        Index(
            "ix_job_open", "status", "lease_until", postgresql_where=text("status IN ('queued', 'running', 'waiting')")
        ),
        Index(None, "after_id"),
        Index(None, "parent_id"),
        Index(None, "model_id"),
    )

    id: Mapped[Id]
    kind: Mapped[str]
    status: Mapped[str] = mapped_column(default="queued")
    dataset_id: Mapped[UUID | None] = mapped_column(ForeignKey("dataset.id"))
    model_id: Mapped[UUID | None] = mapped_column(ForeignKey("model.id"))
    after_id: Mapped[UUID | None] = mapped_column(ForeignKey("job.id"))     # must have succeeded before this starts
    parent_id: Mapped[UUID | None] = mapped_column(ForeignKey("job.id"))    # waits for this one's end
    payload: Mapped[dict[str, Any]] = mapped_column(default=dict)           # what its kind needs to know
    attempt: Mapped[int] = mapped_column(default=0)
    max_attempts: Mapped[int]
    not_before: Mapped[datetime | None]         # the clock has to say so much before it may start
    fence: Mapped[int] = mapped_column(default=0)
    lease_until: Mapped[datetime | None]
    cancel_requested: Mapped[bool] = mapped_column(default=False)
    progress: Mapped[dict[str, Any]] = mapped_column(default=dict)          # phase, done, total
    result: Mapped[dict[str, Any]] = mapped_column(default=dict)
    error: Mapped[str | None]
    created_at: Mapped[CreatedAt]
    started_at: Mapped[datetime | None]
    finished_at: Mapped[datetime | None]


class Outbox(Base):
    """A message to be sent; written with the row that it speaks of, sent by the scheduler, harmless when sent twice."""

    __tablename__ = "outbox"
    __table_args__ = (Index("ix_outbox_unsent", "created_at", postgresql_where=text("sent_at IS NULL")),)

    id: Mapped[Id]                              # also the id of the Celery task
    job_id: Mapped[UUID] = mapped_column(ForeignKey("job.id"), index=True)
    queue: Mapped[str]
    created_at: Mapped[CreatedAt]
    sent_at: Mapped[datetime | None]
