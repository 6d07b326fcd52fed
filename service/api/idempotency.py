"""Idempotency-Key: the same key and body get the first answer again, kept in the transaction of the effect."""

import hashlib
from typing import Annotated, Any

from fastapi import Header
from sqlalchemy import func, insert, select
from sqlalchemy.orm import Session

from service.db.tables import IdempotentReply
from service.errors import BadInput, Fault

Key = Annotated[str | None, Header(alias="Idempotency-Key", min_length=1, max_length=255)]
PRINCIPAL = "local"     # API keys, and with them principals, are not in this version


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
