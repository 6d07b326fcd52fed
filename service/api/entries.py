"""All that the ledger says of one request: its certificates, attempts, failures, erasures and corrections."""

from datetime import datetime
from typing import Annotated
from uuid import UUID

from fastapi import APIRouter
from pydantic import BaseModel, Field, JsonValue, TypeAdapter

from service.api.deps import Tx
from service.db import deletion_requests, ledger
from service.db.certificates import State, standings
from service.db.tables.ledger import LedgerLeaf
from service.domain.entries import Kind
from service.ledger.envelopes import payload
from service.ledger.untrusted import at, read_json

router = APIRouter(prefix="/deletion-requests", tags=["evidence"])
_OBJECT: TypeAdapter[dict[str, JsonValue]] = TypeAdapter(dict[str, JsonValue])


class EntryView(BaseModel):
    """An entry of the ledger; `predicate` is what its signature covers, and `link` leads to the signed bytes."""

    index: int
    kind: Kind
    at: Annotated[datetime, Field(description="When it got its place.")]
    state: Annotated[State | None, Field(description="Of a certificate: whether it still counts.")]
    predicate: dict[str, JsonValue]
    link: str


class EntryList(BaseModel):
    items: list[EntryView]


@router.get("/{request_id}/entries")
def list_entries(request_id: UUID, tx: Tx) -> EntryList:
    """Everything in the ledger about the request, in the ledger's order; what waits for its place is not told yet."""
    request = deletion_requests.get(tx, request_id)
    states: dict[UUID, State] = {each.id: each.state for each in standings(tx, [request.id])}
    return EntryList(items=[_view(leaf, states.get(leaf.entry_id)) for leaf in ledger.entries_of(tx, request.id)])


def _view(leaf: LedgerLeaf, state: State | None) -> EntryView:
    predicate = _OBJECT.validate_python(at(read_json(payload(leaf.envelope)), "predicate"))
    return EntryView.model_validate({
        "index": leaf.idx, "kind": leaf.kind, "at": leaf.sequenced_at, "state": state, "predicate": predicate,
        "link": f"/ledger/entries/{leaf.idx}",
    })
