"""Queries on audits of recipes. How far one has come is its job's to say; it has a report once that has succeeded."""

from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

from sqlalchemy import ColumnElement, Select, select, update
from sqlalchemy.dialects.postgresql import array
from sqlalchemy.orm import Session, aliased

from service.db.jobs import OPEN
from service.db.tables import Job, Model, RecipeAudit
from service.domain.recipe_audits import RecipePlan
from service.errors import NotFound


def add(tx: Session, *, model_id: UUID, job_id: UUID, plan: RecipePlan, recipe_sha256: str) -> RecipeAudit:
    audit = RecipeAudit(
        model_id=model_id, job_id=job_id, plan=plan.model_dump(mode="json"), recipe_sha256=recipe_sha256
    )
    tx.add(audit)
    tx.flush()
    return audit


def get(tx: Session, audit_id: UUID) -> RecipeAudit:
    audit = tx.get(RecipeAudit, audit_id)
    if audit is None:
        raise NotFound("There is no audit of a recipe with this id")
    return audit


def listing(tx: Session, *, limit: int, model_id: UUID | None) -> Sequence[RecipeAudit]:
    """Newest first."""
    query = select(RecipeAudit).order_by(RecipeAudit.created_at.desc(), RecipeAudit.id).limit(limit)
    return tx.scalars(query if model_id is None else query.where(RecipeAudit.model_id == model_id)).all()


def of_job(tx: Session, job: Job) -> RecipeAudit:
    """The audit that a job, or the job that it is a part of, works for."""
    owner = job.parent_id or job.id
    return tx.scalars(select(RecipeAudit).where(RecipeAudit.job_id == owner)).one()


def report(tx: Session, audit_id: UUID, *, key: str) -> None:
    """It has ended well, and its report lies in the store."""
    tx.execute(update(RecipeAudit).where(RecipeAudit.id == audit_id).values(report_key=key))


def newest(tx: Session, *, dataset_id: UUID, recipe_sha256: str) -> RecipeAudit | None:
    """The last finished audit of this recipe on the rows of this data set, whichever model it was asked for."""
    return tx.scalar(
        select(RecipeAudit).join(Model)
        .where(
            Model.dataset_id == dataset_id,
            RecipeAudit.recipe_sha256 == recipe_sha256,
            RecipeAudit.report_key.is_not(None),
        )
        .order_by(RecipeAudit.created_at.desc(), RecipeAudit.id).limit(1)
    )


def scores(tx: Session, dataset_id: UUID, *, before: datetime) -> Sequence[str]:
    """Keys of what the shadows of audits that have ended said of each row."""
    key = Job.result["shadows"].astext
    return tx.scalars(select(key).where(_shadows(dataset_id, before)).order_by(key)).all()


def drop_scores(tx: Session, dataset_id: UUID, *, before: datetime) -> None:
    """Their jobs no longer name them."""
    tx.execute(
        update(Job).where(_shadows(dataset_id, before)).values(result=Job.result.delete_path(array(["shadows"])))
        .execution_options(synchronize_session=False)
    )


def _shadows(dataset_id: UUID, before: datetime) -> ColumnElement[bool]:
    audits = _of_dataset(dataset_id, before, audit := aliased(Job)).where(audit.status.not_in(OPEN))
    return (Job.kind == "shadows") & Job.parent_id.in_(audits) & Job.result.has_key("shadows")


def _of_dataset(dataset_id: UUID, before: datetime, job: type[Job]) -> Select[UUID]:
    """Jobs of the audits on a data set that were asked for before a time."""
    return (
        select(job.id).join(RecipeAudit, RecipeAudit.job_id == job.id).join(Model, Model.id == RecipeAudit.model_id)
        .where(Model.dataset_id == dataset_id, RecipeAudit.created_at < before)
    )


def at_work(tx: Session, dataset_id: UUID, *, before: datetime) -> int:
    """How many audits on a data set were asked for before a time and have not ended."""
    return len(tx.scalars(_of_dataset(dataset_id, before, Job).where(Job.status.in_(OPEN))).all())
