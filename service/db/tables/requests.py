"""Deletion requests, the rows they name, their events and their salts."""

from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import CheckConstraint, ForeignKey, Index
from sqlalchemy.orm import Mapped, mapped_column

from service.db.tables.base import Base, CreatedAt, Id, Serial
from service.domain.requests import State


class DeletionRequest(Base):
    __tablename__ = "deletion_request"
    __table_args__ = (
        CheckConstraint("state IN ({})".format(", ".join(f"'{s}'" for s in State)), name="state"),
        CheckConstraint("target_kind IN ('samples', 'subjects', 'classes')", name="target_kind"),
        Index(None, "model_id", "state"),
        Index(None, "job_id"),
        Index(None, "received_at", "id"),
    )

    id: Mapped[Id]
    model_id: Mapped[UUID] = mapped_column(ForeignKey("model.id"))
    state: Mapped[str] = mapped_column(default="received")
    target_kind: Mapped[str]
    n_targets: Mapped[int]                      # ids asked for
    n_samples: Mapped[int]                      # training rows that they name
    ground: Mapped[str]
    external_id: Mapped[str | None] = mapped_column(unique=True)
    forget_root: Mapped[bytes]                  # Merkle root over the salted commitments
    received_at: Mapped[datetime]
    due_at: Mapped[datetime]
    due_basis: Mapped[str]
    job_id: Mapped[UUID | None] = mapped_column(ForeignKey("job.id"))
    version_id: Mapped[UUID | None] = mapped_column(ForeignKey("model_version.id"))     # the one that forgot
    verdict: Mapped[str | None]
    report_key: Mapped[str | None]              # of the report's JSON; HTML and PDF stand in the job's result
    ended_at: Mapped[datetime | None]


class ForgetRow(Base):
    """A training row that a request names."""

    __tablename__ = "forget_row"

    request_id: Mapped[UUID] = mapped_column(ForeignKey("deletion_request.id"), primary_key=True)
    row: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    commitment: Mapped[bytes]                   # salted; see domain.commitments


class CommitmentSalt(Base):
    """Without its salt a request's commitments say nothing; deleting the row unlinks them for ever."""

    __tablename__ = "commitment_salt"

    request_id: Mapped[UUID] = mapped_column(ForeignKey("deletion_request.id"), primary_key=True)
    salt: Mapped[bytes]


class RequestEvent(Base):
    """What happened to a request, in order; the id is the event stream's id."""

    __tablename__ = "request_event"
    __table_args__ = (Index(None, "request_id", "id"),)

    id: Mapped[Serial]
    request_id: Mapped[UUID] = mapped_column(ForeignKey("deletion_request.id"))
    kind: Mapped[str]                           # a state's name, or attempt, verdict, logged
    data: Mapped[dict[str, Any]] = mapped_column(default=dict)
    at: Mapped[CreatedAt]
