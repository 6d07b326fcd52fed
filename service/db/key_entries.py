"""Queries on the entries that speak of keys, and on what may still be signed by an old one."""

from collections.abc import Sequence

from sqlalchemy import func, literal_column, select, text
from sqlalchemy.orm import Session

from service.db.ledger import SEQUENCER
from service.db.tables.ledger import LedgerLeaf


def key_entries(tx: Session) -> Sequence[tuple[int, bytes]]:
    """(index, envelope) of each, in order."""
    of_keys = LedgerLeaf.kind == literal_column("'key'")       # said in words, so that the partial index is used
    found = tx.execute(select(LedgerLeaf.idx, LedgerLeaf.envelope).where(of_keys).order_by(LedgerLeaf.idx))
    return [(index, bytes(envelope)) for index, envelope in found]


def wait_for_lock(tx: Session) -> None:
    """Become the sequencer until the transaction ends, however long another one is at work."""
    tx.execute(select(func.pg_advisory_xact_lock(SEQUENCER)))


def next_writer(tx: Session) -> int:
    """The number that the next transaction that writes will have."""
    return tx.scalars(text("SELECT pg_snapshot_xmax(pg_current_snapshot())::text::bigint")).one()


def oldest_writer(tx: Session) -> int:
    """The lowest number of a transaction that has written and not ended."""
    return tx.scalars(text("SELECT pg_snapshot_xmin(pg_current_snapshot())::text::bigint")).one()
