"""Idempotency-Key: the same key and body get the first answer again, kept in the transaction of the effect."""

import hashlib
from collections.abc import Callable
from typing import Annotated, Any, TypeVar

from fastapi import Header, Response
from pydantic import BaseModel
from sqlalchemy import func, insert, select
from sqlalchemy.orm import Session

from service.db.tables import IdempotentReply
from service.errors import BadInput, Fault

Key = Annotated[str | None, Header(alias="Idempotency-Key", min_length=1, max_length=255)]
PRINCIPAL = "local"     # API keys, and with them principals, are not in this version


View = TypeVar("View", bound=BaseModel)


def once(
    tx: Session, response: Response, route: str, key: str | None, body: BaseModel, view: type[View],
    make: Callable[[], View],
) -> View:
    """What `make` makes, or what it made when the key was first used; its place is put into the Location header.

    Raises:
        BadInput: the key was used with another body.
    """
    said = body.model_dump_json()
    known = None if key is None else recall(tx, route, key, said)
    made = make() if known is None else view.model_validate(known.body)
    reply = made.model_dump(mode="json")
    location = f"{route}/{reply['id']}"
    if key is not None and known is None:
        remember(tx, route, key, said, location=location, reply=reply)
    response.headers["Location"] = location
    return made


def recall(tx: Session, route: str, key: str, body: str) -> IdempotentReply | None:
    """The answer given before; two requests with one key wait for each other here.

    Raises:
        BadInput: the key was used with another body.
    """
    tx.execute(select(func.pg_advisory_xact_lock(func.hashtextextended(f"{PRINCIPAL}\n{route}\n{key}", 0))))
    known = tx.get(IdempotentReply, (PRINCIPAL, route, key))
    if known is not None and known.body_sha256 != _digest(body):
        detail = "was used with another body"
        raise BadInput(f"This Idempotency-Key {detail}", faults=[Fault("/Idempotency-Key", detail)])
    return known


def remember(tx: Session, route: str, key: str, body: str, *, location: str, reply: dict[str, Any]) -> None:
    values = {"principal": PRINCIPAL, "route": route, "key": key, "body_sha256": _digest(body)}
    tx.execute(insert(IdempotentReply).values(**values, location=location, body=reply))


def _digest(body: str) -> bytes:
    return hashlib.sha256(body.encode()).digest()
