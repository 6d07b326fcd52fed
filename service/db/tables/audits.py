"""Audits that were asked for by themselves, and the retrained models that audits share."""

from typing import Any
from uuid import UUID

from sqlalchemy import ARRAY, ForeignKey, Index, Integer
from sqlalchemy.orm import Mapped, mapped_column

from service.db.tables.base import Base, CreatedAt, Id


class Audit(Base):
    """How well one version of a model has forgotten; its state and its report are its job's."""

    __tablename__ = "audit"
    __table_args__ = (Index(None, "created_at", "id"),)

    id: Mapped[Id]
    model_id: Mapped[UUID] = mapped_column(ForeignKey("model.id"))
    before_id: Mapped[UUID] = mapped_column(ForeignKey("model_version.id"))
    version_id: Mapped[UUID] = mapped_column(ForeignKey("model_version.id"))
    job_id: Mapped[UUID] = mapped_column(ForeignKey("job.id"))
    target_kind: Mapped[str | None]             # None: what the version forgot
    rows: Mapped[list[int]] = mapped_column(ARRAY(Integer))     # that should be forgotten
    plan: Mapped[dict[str, Any]]                # domain.policy.AuditPlan
    created_at: Mapped[CreatedAt]


class ReferenceModel(Base):
    """A model that was trained for comparison. Same rows, recipe and seed: the same model, so it is trained once."""

    __tablename__ = "reference_model"

    key: Mapped[bytes] = mapped_column(primary_key=True)        # SHA-256 of all three; see worker/jobs/references.py
    dataset_id: Mapped[UUID] = mapped_column(ForeignKey("dataset.id"))
    weights_key: Mapped[str]
    seconds: Mapped[float]                      # that its training took
    created_at: Mapped[CreatedAt]
