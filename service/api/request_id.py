"""A request id: in the logs of the request, in its answer, and in its problem document."""

from uuid import uuid4

import structlog
from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

HEADER = "X-Request-ID"


class RequestId:
    """Gives each request an id of ours; one that a client sends is not taken over, for it may hold anything."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request_id = str(uuid4())

        async def named(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message)[HEADER] = request_id
            await send(message)

        structlog.contextvars.bind_contextvars(request_id=request_id)      # not unbound: the last handler is outside
        await self.app(scope, receive, named)


def current() -> str:
    """The id of the request that is being served."""
    return str(structlog.contextvars.get_contextvars().get("request_id", ""))
