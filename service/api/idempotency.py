"""Idempotency-Key: the same key and body get the first answer again, kept in the transaction of the effect."""

import hmac
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Annotated, Any, TypeVar

from fastapi import Depends, Header, Response
from pydantic import BaseModel
from sqlalchemy import func, insert, select
from sqlalchemy.orm import Session

from service.api.deps import Ctx
from service.db.tables import IdempotentReply
from service.errors import BadInput, Fault

PRINCIPAL = "local"     # API keys, and with them principals, are not in this version


@dataclass(frozen=True, slots=True)
class Repeatable:
    """What the client calls this request, and the key under which its body is remembered."""

    name: str
    index_key: bytes = field(repr=False)

    def mac(self, body: str) -> bytes:
        """The body names persons, whom a bare hash of it would betray to a guess."""
        return hmac.digest(self.index_key, b"idempotent\0" + body.encode(), "sha256")


def _repeatable(
    ctx: Ctx, key: Annotated[str | None, Header(alias="Idempotency-Key", min_length=1, max_length=255)] = None
) -> Repeatable | None:
    return None if key is None else Repeatable(key, ctx.index_key)


Key = Annotated[Repeatable | None, Depends(_repeatable)]
View = TypeVar("View", bound=BaseModel)


def once(
    tx: Session, response: Response, route: str, key: Repeatable | None, body: BaseModel, view: type[View],
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


def recall(tx: Session, route: str, key: Repeatable, body: str) -> IdempotentReply | None:
    """The answer given before; two requests with one key wait for each other here.

    Raises:
        BadInput: the key was used with another body.
    """
    tx.execute(select(func.pg_advisory_xact_lock(func.hashtextextended(f"{PRINCIPAL}\n{route}\n{key.name}", 0))))
    known = tx.get(IdempotentReply, (PRINCIPAL, route, key.name))
    if known is not None and not hmac.compare_digest(known.body_mac, key.mac(body)):
        detail = "was used with another body"
        raise BadInput(f"This Idempotency-Key {detail}", faults=[Fault("/Idempotency-Key", detail)])
    return known


def remember(tx: Session, route: str, key: Repeatable, body: str, *, location: str, reply: dict[str, Any]) -> None:
    values = {"principal": PRINCIPAL, "route": route, "key": key.name, "body_mac": key.mac(body)}
    tx.execute(insert(IdempotentReply).values(**values, location=location, body=reply))
