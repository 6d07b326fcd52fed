"""Queries on ranges of the ledger: what tiles are made of, and what a replay reads."""

from collections.abc import Sequence

from sqlalchemy import select
from sqlalchemy.orm import Session

from service.db.tables.ledger import LedgerCheckpoint, LedgerLeaf, LedgerNode


def envelopes(tx: Session, first: int, end: int) -> Sequence[bytes]:
    """The entries [first, end), in order."""
    wanted = LedgerLeaf.idx.between(first, end - 1)
    return tx.scalars(select(LedgerLeaf.envelope).where(wanted).order_by(LedgerLeaf.idx)).all()


def hashes(tx: Session, level: int, first: int, end: int) -> Sequence[bytes]:
    """The roots of the complete subtrees [first, end) of a level, in order."""
    wanted = LedgerNode.idx.between(first, end - 1)
    return tx.scalars(
        select(LedgerNode.hash).where(LedgerNode.level == level, wanted).order_by(LedgerNode.idx)
    ).all()


def checkpoint_sizes(tx: Session, above: int, below: int) -> Sequence[int]:
    """Sizes of the checkpoints between these two, both excluded."""
    size = LedgerCheckpoint.size
    return tx.scalars(select(size).where(size > above, size < below).order_by(size)).all()
