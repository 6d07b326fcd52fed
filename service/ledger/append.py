"""Issuing: an entry and its place in the queue for the ledger, in the transaction of what it speaks of."""

from collections.abc import Iterator, Mapping, Sequence
from uuid import UUID, uuid4

from sqlalchemy.orm import Session

from service.db import ledger
from service.domain.entries import Entry, statement
from service.errors import AlreadyExists
from service.ledger.envelopes import seal
from service.ledger.keys import Pair


def issue(
    tx: Session, *, request_id: UUID, certificate_id: UUID, envelope: bytes, supersedes: UUID | None = None
) -> None:
    """Store a certificate's exact bytes and queue them; a request has one that supersedes no other.

    Raises:
        AlreadyExists: the request has its certificate, the superseded one is superseded already, or the id is taken;
            nothing was stored.
    """
    if not ledger.add_certificate(
        tx, certificate_id, request_id=request_id, envelope=envelope, supersedes=supersedes
    ):
        raise AlreadyExists("The request has its certificate already")
    ledger.enqueue(tx, certificate_id, envelope, kind="certificate", requests=[request_id])


PART = 500      # requests that one entry names at most, so that its envelope stays below the 65,535 bytes of a tile's


def parts(requests: Sequence[UUID]) -> Iterator[tuple[UUID, ...]]:
    """Requests in the portions in which an entry may name them."""
    for first in range(0, len(requests), PART):
        yield tuple(requests[first : first + PART])


def record(
    tx: Session, entry: Entry, certificate_key: Pair, *, subjects: Mapping[str, str], requests: Sequence[UUID] = (),
    entry_id: UUID | None = None,
) -> UUID:
    """Seal an entry that is no certificate, and queue it; returns its id.

    Args:
        subjects: name → SHA-256 in hex of what it speaks of.
        requests: that it is listed with.
        entry_id: chosen by a caller who must not say the same twice.
    """
    chosen = entry_id or uuid4()
    envelope = seal(statement(entry, subjects), certificate_key)
    ledger.enqueue(tx, chosen, envelope, kind=entry.kind, requests=requests)
    return chosen
