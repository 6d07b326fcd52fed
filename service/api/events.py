"""The event stream of a request: resumable by Last-Event-ID, one short transaction per look."""

import asyncio
from collections.abc import AsyncIterator
from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Depends, Header
from fastapi.sse import EventSourceResponse, ServerSentEvent
from starlette.concurrency import run_in_threadpool

from service.api.deps import Context, Ctx
from service.db import deletion_requests, jobs
from service.db.session import transaction
from service.domain.requests import ENDED

router = APIRouter(prefix="/deletion-requests", tags=["deletion requests"])
EVERY_S = 0.25
Look = tuple[list[ServerSentEvent], dict[str, Any] | None, bool]


def _known(request_id: UUID, ctx: Ctx) -> UUID:
    """Answers 404 while the status line can still say so."""
    with transaction(ctx.engine) as tx:
        return deletion_requests.get(tx, request_id).id


@router.get("/{request_id}/events", response_class=EventSourceResponse)
async def follow(
    request_id: Annotated[UUID, Depends(_known)],
    ctx: Ctx,
    last: Annotated[str | None, Header(alias="Last-Event-ID", pattern=r"^\d{1,18}$")] = None,
) -> AsyncIterator[ServerSentEvent]:
    """Events of a request as they happen, and its job's progress; the stream ends with the request."""
    seen, shown = int(last or 0), None
    while True:
        news, progress, over = await run_in_threadpool(_look, ctx, request_id, seen)
        if progress is not None and progress != shown:
            shown = progress
            yield ServerSentEvent(event="progress", data=progress)
        for event in news:      # last, so that nothing follows the end
            seen = int(event.id or seen)
            yield event
        if over:
            return
        await asyncio.sleep(EVERY_S)


def _look(ctx: Context, request_id: UUID, seen: int) -> Look:
    with transaction(ctx.engine) as tx:
        request = deletion_requests.get(tx, request_id)
        progress = jobs.get(tx, request.job_id).progress if request.job_id else None
        news = [
            ServerSentEvent(id=str(event.id), event=event.kind, data={"at": event.at.isoformat(), **event.data})
            for event in deletion_requests.events(tx, request_id, after=seen)
        ]
        return news, progress or None, request.state in ENDED
