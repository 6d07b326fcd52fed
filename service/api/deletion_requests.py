"""Deletion requests: submit, list, follow, cancel, and fetch the evidence."""

from collections.abc import Sequence
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
from service.db.certificates import Standing, standings
from service.db.certificates import State as CertificateState
from service.db.tables import DeletionRequest
from service.domain.requests import State
from service.domain.values import Name
from service.intake import NewDeletionRequest

router = APIRouter(prefix="/deletion-requests", tags=["deletion requests"])


class CertificateView(BaseModel):
    """A certificate, and whether it still counts: revoked and superseded ones do not, and can be fetched all the same.
    """

    id: UUID
    state: CertificateState
    index: Annotated[int | None, Field(description="Of its entry in the ledger; none while it waits for its place.")]
    supersedes: UUID | None

    @classmethod
    def of(cls, standing: Standing) -> "CertificateView":
        return cls(id=standing.id, state=standing.state, index=standing.index, supersedes=standing.supersedes)


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
    certificate: Annotated[CertificateView | None, Field(description="The newest; earlier ones are superseded.")]
    links: dict[str, str]

    @classmethod
    def of(cls, tx: Session, request: DeletionRequest) -> "RequestView":
        return cls.listed(tx, [request])[0]

    @classmethod
    def listed(cls, tx: Session, requests: Sequence[DeletionRequest]) -> "list[RequestView]":
        known = standings(tx, [request.id for request in requests if request.state == State.CERTIFIED])
        newest = {each.request_id: CertificateView.of(each) for each in known if each.by is None}
        return [cls._of(tx, request, newest.get(request.id)) for request in requests]

    @classmethod
    def _of(cls, tx: Session, request: DeletionRequest, certificate: CertificateView | None) -> "RequestView":
        here = f"{router.prefix}/{request.id}"
        names = ("events", "audit-report", "certificate", "bundle", "entries")
        version = models.version_number(tx, request.version_id)
        return cls.model_validate(
            {field: getattr(request, field) for field in cls.model_fields if hasattr(request, field)}
            | {
                "model": models.by_id(tx, request.model_id).name,
                "days_left": (request.due_at - datetime.now(UTC)).days,
                "version": version,
                "certificate": certificate,
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
        items=RequestView.listed(tx, page),
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
