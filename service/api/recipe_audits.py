"""Audits of recipes: U-LiRA over shadow models, once for a release of a recipe and not for each request."""

from datetime import datetime
from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Query, Response
from pydantic import BaseModel
from sqlalchemy.orm import Session

from service.api import idempotency
from service.api.deps import Context, Ctx, Tx
from service.api.jobs import JobView
from service.db import datasets, jobs, models, recipe_audits
from service.db.tables import Model, RecipeAudit
from service.domain.recipe_audits import RecipePlan, recipe_sha256
from service.domain.recipes import Spec
from service.domain.report import RecipeReport
from service.domain.values import Name, Value
from service.errors import Conflict, NotYet

router = APIRouter(prefix="/recipe-audits", tags=["recipe audits"])


class NewRecipeAudit(Value):
    """Which model's training recipe, data set and family the shadows are made by, and what to do with them."""

    model: Name
    plan: RecipePlan


class RecipeAuditView(BaseModel):
    """An audit of a recipe and where it stands."""

    id: UUID
    model: str
    plan: dict[str, Any]
    recipe_sha256: str
    job: JobView
    created_at: datetime
    links: dict[str, str]

    @classmethod
    def of(cls, tx: Session, audit: RecipeAudit) -> "RecipeAuditView":
        here = f"{router.prefix}/{audit.id}"
        return cls(
            id=audit.id, model=models.by_id(tx, audit.model_id).name, plan=audit.plan,
            recipe_sha256=audit.recipe_sha256, job=JobView.of(jobs.get(tx, audit.job_id)),
            created_at=audit.created_at, links={"self": here, "report": f"{here}/report"},
        )


class RecipeAuditList(BaseModel):
    items: list[RecipeAuditView]


@router.post("", status_code=202)
def add(body: NewRecipeAudit, ctx: Ctx, tx: Tx, response: Response, key: idempotency.Key = None) -> RecipeAuditView:
    """Audit a recipe; the shadows are trained by as many workers as there are, and deletion requests do not wait."""
    return idempotency.once(
        tx, response, router.prefix, key, body, RecipeAuditView, lambda: _added(tx, ctx, body)
    )


def _added(tx: Session, ctx: Context, body: NewRecipeAudit) -> RecipeAuditView:
    model = models.get(tx, body.model)
    job = jobs.add(
        tx, "recipe", dataset_id=model.dataset_id, max_attempts=ctx.settings.max_attempts,
        after_id=jobs.of_dataset(tx, model.dataset_id),
    )
    digest = _digest(tx, model, body.plan)
    audit = recipe_audits.add(tx, model_id=model.id, job_id=job.id, plan=body.plan, recipe_sha256=digest)
    return RecipeAuditView.of(tx, audit)


def _digest(tx: Session, model: Model, plan: RecipePlan) -> str:
    digest = datasets.by_id(tx, model.dataset_id).source_sha256
    return recipe_sha256(digest, Spec.model_validate(model.spec), plan.method)


@router.get("")
def list_recipe_audits(
    tx: Tx, model: Name | None = None, limit: Annotated[int, Query(ge=1, le=1000)] = 100
) -> RecipeAuditList:
    """Audits of recipes, newest first."""
    model_id = None if model is None else models.get(tx, model).id
    found = recipe_audits.listing(tx, limit=limit, model_id=model_id)
    return RecipeAuditList(items=[RecipeAuditView.of(tx, audit) for audit in found])


@router.get("/{audit_id}")
def get_recipe_audit(audit_id: UUID, tx: Tx) -> RecipeAuditView:
    """One audit of a recipe; its job's progress counts the shadows' parts."""
    return RecipeAuditView.of(tx, recipe_audits.get(tx, audit_id))


@router.get("/{audit_id}/report", response_class=Response, responses={200: {"model": RecipeReport}})
def report(audit_id: UUID, tx: Tx, ctx: Ctx) -> Response:
    """What U-LiRA found, as JSON."""
    audit = recipe_audits.get(tx, audit_id)
    if audit.report_key is None:
        if jobs.get(tx, audit.job_id).finished_at is not None:
            raise Conflict("The audit ended without a report; its job says why")
        raise NotYet("The audit of this recipe has not ended")
    return Response(b"".join(ctx.store.open(audit.report_key)), media_type="application/json")


@router.post("/{audit_id}/cancel", status_code=202)
def cancel(audit_id: UUID, tx: Tx) -> RecipeAuditView:
    """Stop an audit that has not ended, and its shadows; running ones stop within a step."""
    audit = recipe_audits.get(tx, audit_id)
    if jobs.get(tx, audit.job_id).finished_at is not None:
        raise Conflict("The audit has ended")
    jobs.cancel(tx, audit.job_id)
    tx.expire_all()
    return RecipeAuditView.of(tx, audit)
