"""Issuing: a certificate and its place in the queue for the ledger, in the transaction that ends the request."""

from uuid import UUID

from sqlalchemy.orm import Session

from service.db import ledger
from service.errors import AlreadyExists


def issue(tx: Session, *, request_id: UUID, certificate_id: UUID, envelope: bytes) -> None:
    """Store the envelope's exact bytes and queue them; a request has one certificate for ever.

    Raises:
        AlreadyExists: the request has its certificate, or the id is taken; nothing was stored.
    """
    if not ledger.add_certificate(tx, certificate_id, request_id=request_id, envelope=envelope):
        raise AlreadyExists("The request has its certificate already")
    ledger.enqueue(tx, certificate_id, envelope)
