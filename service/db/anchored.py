"""Queries on what was written down outside."""

from collections.abc import Mapping, Sequence
from datetime import timedelta

from sqlalchemy import exists, func, select
from sqlalchemy.dialects.postgresql import insert as upsert
from sqlalchemy.orm import Session

from service.db.ledger import latest_checkpoint
from service.db.tables.ledger import LedgerAnchored, LedgerCheckpoint


def due(tx: Session, anchor: str, *, every: timedelta) -> LedgerCheckpoint | None:
    """The newest checkpoint, if the anchor lacks it and was not given another for so long."""
    latest = latest_checkpoint(tx)
    recent = LedgerAnchored.at > func.clock_timestamp() - every
    size = -1 if latest is None else latest.size
    settled = exists().where(LedgerAnchored.anchor == anchor, (LedgerAnchored.size == size) | recent)
    return None if tx.scalar(select(settled)) else latest


def add(tx: Session, anchor: str, size: int) -> None:
    tx.execute(upsert(LedgerAnchored).values(anchor=anchor, size=size).on_conflict_do_nothing())


def sizes(tx: Session, anchor: str) -> Sequence[int]:
    """Of every checkpoint that the anchor was given."""
    return tx.scalars(select(LedgerAnchored.size).where(LedgerAnchored.anchor == anchor)).all()


def newest(tx: Session) -> Mapping[str, int]:
    """The size that each anchor has, by anchor."""
    largest = select(LedgerAnchored.anchor, func.max(LedgerAnchored.size)).group_by(LedgerAnchored.anchor)
    return {row[0]: row[1] for row in tx.execute(largest)}
