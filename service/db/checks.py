"""Queries of those who check the ledger: a snapshot, what must be there, and what was found."""

from collections.abc import Generator
from contextlib import contextmanager
from uuid import UUID

from sqlalchemy import Engine, exists, func, insert, literal, select
from sqlalchemy.orm import Session

from service.db.tables import DeletionRequest
from service.db.tables.ledger import (
    Certificate,
    LedgerCheck,
    LedgerHead,
    LedgerInbox,
    LedgerLeaf,
)


@contextmanager
def snapshot(engine: Engine) -> Generator[Session]:
    """All that is read within is of one moment."""
    options = {"isolation_level": "REPEATABLE READ", "postgresql_readonly": True}
    with Session(engine.execution_options(**options)) as session, session.begin():
        yield session


def head(tx: Session) -> tuple[int, tuple[bytes, ...]]:
    """Size and frontier; of an empty tree before the first entry."""
    found = tx.scalar(select(LedgerHead))
    return (0, ()) if found is None else (found.size, tuple(found.frontier))


def lost_certificate(tx: Session) -> UUID | None:
    """One that is neither an entry nor waiting, byte for byte."""
    hashed = func.sha256(literal(b"\0").op("||")(Certificate.envelope))
    entered = exists().where(LedgerLeaf.entry_id == Certificate.id, LedgerLeaf.leaf_hash == hashed)
    waits = exists().where(LedgerInbox.entry_id == Certificate.id, LedgerInbox.envelope == Certificate.envelope)
    return tx.scalar(select(Certificate.id).where(~entered, ~waits).limit(1))


def stray_entry(tx: Session) -> int | None:
    """The index of a certificate's entry that has no certificate."""
    stored = exists().where(Certificate.id == LedgerLeaf.entry_id)
    return tx.scalar(select(func.min(LedgerLeaf.idx)).where(LedgerLeaf.kind == "certificate", ~stored))


def uncertified_request(tx: Session) -> UUID | None:
    """A request that ended with a certificate and has none."""
    has = exists().where(Certificate.request_id == DeletionRequest.id)
    return tx.scalar(select(DeletionRequest.id).where(DeletionRequest.state == "certified", ~has).limit(1))


def add(tx: Session, *, size: int, fault: str | None, seconds: float) -> None:
    """Write down what a look at everything found."""
    tx.execute(insert(LedgerCheck).values(size=size, ok=fault is None, fault=fault, seconds=seconds))


def latest(tx: Session) -> LedgerCheck | None:
    return tx.scalar(select(LedgerCheck).order_by(LedgerCheck.id.desc()).limit(1))
