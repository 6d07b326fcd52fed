"""What the tests of erasure share: a request that was served, and a grace that is over."""

import base64
import json
from collections.abc import Callable
from typing import Any

from starlette.testclient import TestClient

from tests.service.world import ask

Run = Callable[[Any], None]
Erase = Callable[[], list[dict[str, Any]]]
DUE = """UPDATE job SET not_before = clock_timestamp() WHERE kind = 'erase' AND status = 'queued'
         RETURNING id, created_at"""
LOST = "UPDATE job SET lease_until = clock_timestamp() - interval '1 second' WHERE status = 'running'"


def served(api: TestClient, run: Run, kind: str, ids: list[Any], **more: Any) -> dict[str, Any]:
    """A request that was certified."""
    request = ask(api, kind, ids, **more).json()
    run(request["job_id"])
    seen = api.get(f"/deletion-requests/{request['id']}").json()
    assert seen["state"] == "certified"
    return seen


def statement(envelope: bytes) -> dict[str, Any]:
    return json.loads(base64.b64decode(json.loads(envelope)["payload"]))


def entries(sql: Any) -> list[dict[str, Any]]:
    """What the ledger will say of erasures."""
    waiting = sql("SELECT envelope FROM ledger_inbox WHERE kind = 'erasure' ORDER BY id")
    return [statement(bytes(envelope))["predicate"] for (envelope,) in waiting]


def certificate(api: TestClient, request: dict[str, Any]) -> dict[str, Any]:
    return statement(api.get(f"/deletion-requests/{request['id']}/certificate").content)["predicate"]
