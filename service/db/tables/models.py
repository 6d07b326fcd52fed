"""Models and their versions; a version is one set of weights in the store."""

from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import CheckConstraint, ForeignKey, Index, UniqueConstraint, text
from sqlalchemy.orm import Mapped, mapped_column

from service.db.tables.base import Base, CreatedAt, Id


class Model(Base):
    __tablename__ = "model"

    id: Mapped[Id]
    name: Mapped[str] = mapped_column(unique=True)
    dataset_id: Mapped[UUID] = mapped_column(ForeignKey("dataset.id"))
    spec: Mapped[dict[str, Any]]                # domain.recipes.Spec
    policy: Mapped[dict[str, Any]]              # domain.policy.Policy
    created_at: Mapped[CreatedAt]


class ModelVersion(Base):
    __tablename__ = "model_version"
    __table_args__ = (
        CheckConstraint("status IN ('active', 'superseded', 'inactive')", name="status"),
        CheckConstraint("origin IN ('trained', 'uploaded', 'unlearned')", name="origin"),
        UniqueConstraint("model_id", "number"),
        Index("ix_model_version_one_active", "model_id", unique=True, postgresql_where=text("status = 'active'")),
    )

    id: Mapped[Id]
    model_id: Mapped[UUID] = mapped_column(ForeignKey("model.id"))
    number: Mapped[int]
    status: Mapped[str] = mapped_column(default="active")
    origin: Mapped[str]
    weights_key: Mapped[str]                    # names the digest even when the weights are gone
    erased_at: Mapped[datetime | None]
    job_id: Mapped[UUID | None] = mapped_column(ForeignKey("job.id"))
    created_at: Mapped[CreatedAt]
