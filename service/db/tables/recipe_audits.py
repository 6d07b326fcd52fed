"""Audits of recipes: made once for a release of a recipe, and attached to every certificate that used it."""

from typing import Any
from uuid import UUID

from sqlalchemy import ForeignKey, Index
from sqlalchemy.orm import Mapped, mapped_column

from service.db.tables.base import Base, CreatedAt, Id


class RecipeAudit(Base):
    __tablename__ = "recipe_audit"
    __table_args__ = (Index(None, "recipe_sha256"), Index(None, "job_id"))

    id: Mapped[Id]
    model_id: Mapped[UUID] = mapped_column(ForeignKey("model.id"))
    job_id: Mapped[UUID] = mapped_column(ForeignKey("job.id"))
    plan: Mapped[dict[str, Any]]                # domain.recipe_audits.RecipePlan
    recipe_sha256: Mapped[str]                  # see domain.recipe_audits.recipe_sha256
    report_key: Mapped[str | None]              # of the report's JSON
    created_at: Mapped[CreatedAt]
