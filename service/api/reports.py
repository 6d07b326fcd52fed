"""An audit's report as it is sent: JSON of one schema, or HTML or PDF by Accept."""

from collections.abc import Mapping
from typing import Annotated, Any

from fastapi import Header, Response

from service.api.deps import Context
from service.domain.report import AuditReport

Accept = Annotated[str, Header()]
_FORMS = {"application/json": "json", "text/html": "html", "application/pdf": "pdf"}
RESPONSES: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "The report.",
        "model": AuditReport,
        "content": {"text/html": {"schema": {"type": "string"}},
                    "application/pdf": {"schema": {"type": "string", "format": "binary"}}},
    }
}


def respond(ctx: Context, keys: Mapping[str, str], accept: str) -> Response:
    """The form that the client accepts, JSON unless it says otherwise; `keys` are form → key in the store."""
    media = next((kind for kind in _FORMS if kind in accept), "application/json")
    return Response(read(ctx, keys[_FORMS[media]]), media_type=media)


def read(ctx: Context, key: str) -> bytes:
    """A whole object of the store."""
    return b"".join(ctx.store.open(key))
