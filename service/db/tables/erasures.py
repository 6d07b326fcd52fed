"""Erasure: what is to be erased, what was, and whose rows must not come back."""

from datetime import datetime
from uuid import UUID

from sqlalchemy import CheckConstraint, ForeignKey, Index, text
from sqlalchemy.orm import Mapped, mapped_column

from service.db.tables.base import Base, CreatedAt, Id


class Purge(Base):
    """One thing that an erase job takes away; written before, and marked after, so that a crash forgets none."""

    __tablename__ = "purge"
    __table_args__ = (
        CheckConstraint("outcome IN ('erased', 'shared', 'absent')", name="outcome"),
        Index("ix_purge_open", "job_id", postgresql_where=text("outcome IS NULL")),
    )

    id: Mapped[Id]
    job_id: Mapped[UUID] = mapped_column(ForeignKey("job.id"))
    kind: Mapped[str]                           # domain.entries.ErasedKind
    store_key: Mapped[str]
    outcome: Mapped[str | None]                 # shared: other rows still name the object
    created_at: Mapped[CreatedAt]
    done_at: Mapped[datetime | None]


class Suppressed(Base):
    """A keyed reference that no later data set may hold."""

    __tablename__ = "suppressed"

    ref: Mapped[bytes] = mapped_column(primary_key=True)
    request_id: Mapped[UUID | None] = mapped_column(ForeignKey("deletion_request.id"))      # None: its salt is gone
    created_at: Mapped[CreatedAt]
