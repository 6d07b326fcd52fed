"""The ledger, as anyone may check it."""

import base64
from typing import Annotated

from fastapi import APIRouter, Path, Query, Response
from pydantic import BaseModel

from service.api.deps import Ctx, Tx
from service.db import ledger as rows
from service.db.key_entries import key_entries
from service.errors import NotYet
from service.ledger import proofs
from service.ledger.key_history import KeyState, history
from service.ledger.keys import public_keys

router = APIRouter(prefix="/ledger", tags=["ledger"])
Size = Annotated[int, Query(ge=1, lt=2**53)]
From = Annotated[int, Query(alias="from", ge=1, lt=2**53)]
To = Annotated[int, Query(alias="to", ge=1, lt=2**53)]


class Proof(BaseModel):
    """RFC 6962 audit path or consistency proof: hashes in base64."""

    hashes: list[str]


def _view(hashes: list[bytes]) -> Proof:
    return Proof(hashes=[base64.b64encode(each).decode() for each in hashes])


@router.get("/checkpoint", response_class=Response, responses={200: {"content": {"text/plain": {}}}})
def checkpoint(tx: Tx) -> Response:
    """The newest signed tree head, a C2SP checkpoint."""
    latest = rows.latest_checkpoint(tx)
    if latest is None:
        raise NotYet("The ledger is empty")
    return Response(latest.note, media_type="text/plain; charset=utf-8")


@router.get("/entries/{index}", response_class=Response, responses={200: {"content": {"application/json": {}}}})
def entry(index: Annotated[int, Path(ge=0, lt=2**53)], tx: Tx) -> Response:
    """One leaf: the DSSE envelope, byte for byte."""
    return Response(rows.leaf(tx, index).envelope, media_type="application/json")


@router.get("/proofs/inclusion")
def inclusion(tx: Tx, index: Annotated[int, Query(ge=0, lt=2**53)], size: Size) -> Proof:
    """That the leaf at `index` is in the tree of `size` leaves."""
    return _view(proofs.inclusion(tx, index, size))


@router.get("/proofs/consistency")
def consistency(tx: Tx, first: From, second: To) -> Proof:
    """That the tree of `to` leaves contains the tree of `from` leaves unchanged."""
    return _view(proofs.consistency(tx, first, second))


class KeyList(BaseModel):
    """All keys of the ledger; `vkeys` has those without an end."""

    vkeys: list[str]
    keys: list[KeyState]


@router.get("/keys")
def keys(ctx: Ctx, tx: Tx) -> KeyList:
    """The public keys as C2SP verifier keys; pin a copy, and do not trust this answer alone."""
    public = public_keys(ctx.settings.keys_dir)
    open_ended = [str(key) for key in public if key.until is None]
    return KeyList(vkeys=open_ended, keys=history(public, key_entries(tx)))
