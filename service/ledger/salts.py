"""Forgetting salts: from then on the commitments of a request are random numbers to everybody, us included."""

from datetime import UTC, datetime, timedelta
from uuid import UUID

from sqlalchemy.orm import Session

from service.db import deletion_requests, salts
from service.domain.entries import SaltForgotten
from service.errors import Conflict
from service.ledger.append import record
from service.ledger.keys import Pair


def forget(
    tx: Session, certificate_key: Pair, *, request_id: UUID | None = None, older_than: timedelta | None = None
) -> list[UUID]:
    """Delete the salt of one request, or of all that ended long ago, and log it in the same transaction.

    Returns:
        The requests whose salt was known until now.
    Raises:
        NotFound: there is no such request.
        Conflict: it has not ended, or not so long ago, or its rows are still to be erased.
    """
    now = datetime.now(UTC)
    before = now - (older_than or timedelta())
    if request_id is not None:
        _refuse_unless_over(tx, request_id, before)
    forgotten = salts.known(tx, request_id=request_id, before=before)
    for request in forgotten:
        salts.forget(tx, request.id)
        subjects = {"forget-root": request.forget_root.hex()}
        entry = SaltForgotten(request_id=request.id, at=now)
        record(tx, entry, certificate_key, subjects=subjects, requests=[request.id])
    return [request.id for request in forgotten]


def _refuse_unless_over(tx: Session, request_id: UUID, before: datetime) -> None:
    ended = deletion_requests.get(tx, request_id).ended_at
    if ended is None:
        raise Conflict("The request has not ended, and whoever made it may still ask for a receipt")
    if ended >= before:
        raise Conflict("The request has not ended so long ago")
    if salts.awaits_erasure(tx, request_id):
        raise Conflict("The rows of the request are not erased yet, and until then the index itself tells them")
