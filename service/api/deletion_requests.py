"""Deletion requests: submit, list, follow, cancel, and fetch the evidence."""

from datetime import UTC, datetime
from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Query, Response
from pydantic import BaseModel, Field
from sqlalchemy.orm import Session

from service import intake
from service.api import idempotency
from service.api.deps import Ctx, Tx
from service.api.pages import read_token, token
from service.db import deletion_requests, models
from service.db.tables import DeletionRequest
from service.domain.requests import State
from service.domain.values import Name
from service.intake import NewDeletionRequest

router = APIRouter(prefix="/deletion-requests", tags=["deletion requests"])


class RequestView(BaseModel):
    """A deletion request and where it stands. It names no person."""

    id: UUID
    model: str
    state: State
    target_kind: str
    n_targets: Annotated[int, Field(description="Ids that were asked for.")]
    n_samples: Annotated[int, Field(description="Training rows that they name.")]
    ground: str
    external_id: str | None
    received_at: datetime
    due_at: datetime
    due_basis: str
    days_left: int
    verdict: str | None
    version: Annotated[int | None, Field(description="The model version that has forgotten them.")]
    job_id: UUID | None
    ended_at: datetime | None
    links: dict[str, str]

    @classmethod
    def of(cls, tx: Session, request: DeletionRequest) -> "RequestView":
        here = f"{router.prefix}/{request.id}"
        names = ("events", "audit-report", "certificate", "bundle")
        version = models.version_number(tx, request.version_id)
        return cls.model_validate(
            {field: getattr(request, field) for field in cls.model_fields if hasattr(request, field)}
            | {
                "model": models.by_id(tx, request.model_id).name,
                "days_left": (request.due_at - datetime.now(UTC)).days,
                "version": version,
                "links": {name: f"{here}/{name}" for name in names} | {"self": here, "job": f"/jobs/{request.job_id}"},
            }
        )


class RequestList(BaseModel):
    items: list[RequestView]
    next_page_token: Annotated[str, Field(description="Empty at the end.")]


@router.post("", status_code=202, response_model=RequestView)
def submit(
    body: NewDeletionRequest, ctx: Ctx, tx: Tx, response: Response, key: idempotency.Key = None
) -> RequestView:
    """Ask a model to forget samples, subjects or classes."""
    attempts = ctx.settings.max_attempts

    def submitted() -> RequestView:
        return RequestView.of(tx, intake.submit(tx, body, index_key=ctx.index_key, max_attempts=attempts))

    return idempotency.once(tx, response, router.prefix, key, body, RequestView, submitted)


@router.get("")
def list_requests(
    tx: Tx,
    model: Name | None = None,
    state: State | None = None,
    page_size: Annotated[int, Query(ge=1, le=1000)] = 100,
    page_token: Annotated[str, Query(max_length=200)] = "",
) -> RequestList:
    """Requests, newest first."""
    model_id = None if model is None else models.get(tx, model).id
    found = deletion_requests.listing(
        tx, limit=page_size + 1, model_id=model_id, state=state, after=read_token(page_token)
    )
    page, more = found[:page_size], len(found) > page_size
    return RequestList(
        items=[RequestView.of(tx, request) for request in page],
        next_page_token=token(page[-1].received_at, page[-1].id) if more else "",
    )


@router.get("/{request_id}")
def get_request(request_id: UUID, tx: Tx) -> RequestView:
    """One request."""
    return RequestView.of(tx, deletion_requests.get(tx, request_id))


@router.post("/{request_id}/cancel", status_code=202)
def cancel(request_id: UUID, tx: Tx) -> RequestView:
    """Withdraw a request that has not ended; a running job stops within a step."""
    request = deletion_requests.get(tx, request_id)
    intake.cancel(tx, request)
    return RequestView.of(tx, request)
