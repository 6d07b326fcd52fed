"""Queries on certificates and the ledger."""

from collections.abc import Generator, Iterable, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, LiteralString, NamedTuple
from uuid import UUID

from sqlalchemy import Engine, delete, exists, func, insert, select, update
from sqlalchemy.dialects.postgresql import insert as upsert
from sqlalchemy.orm import Session, aliased

from service.db.arrays import among
from service.db.tables.ledger import (
    Certificate,
    EntryOfRequest,
    LedgerCheckpoint,
    LedgerHead,
    LedgerInbox,
    LedgerLeaf,
)
from service.domain.merkle import Subtree
from service.errors import BadInput, NotFound

SEQUENCER = 0x6C65_6467_6572  # the advisory lock of whoever writes the tree: "ledger"
ENVELOPE_LIMIT = 65_535       # bytes; a tile of entries gives each length two bytes (C2SP tlog-tiles)

_ENQUEUE = "INSERT INTO ledger_inbox (entry_id, kind, envelope) VALUES (%s, %s, %s)"
_TAKE = "SELECT id, entry_id, kind, envelope FROM ledger_inbox WHERE id > %s ORDER BY id LIMIT %s"
_NODES = (      # in the driver's words, like the two before: what is asked so often is not built anew each time
    "SELECT level, idx, hash FROM ledger_node"
    " JOIN unnest(%s::int2[], %s::int8[]) AS wanted (level, idx) USING (level, idx)"
)
_LEAF = ("int8", "bytea", "uuid", "varchar", "bytea")
_NODE = ("int2", "int8", "bytea")


class Waiting(NamedTuple):
    """An entry of the inbox."""

    id: int
    entry_id: UUID
    kind: str
    envelope: bytes


def add_certificate(
    tx: Session, certificate_id: UUID, *, request_id: UUID, envelope: bytes, supersedes: UUID | None = None
) -> bool:
    """False if the request has one, that one has been superseded by another already, or the id is taken."""
    values = {"id": certificate_id, "request_id": request_id, "envelope": envelope, "supersedes": supersedes}
    return tx.scalar(upsert(Certificate).values(values).on_conflict_do_nothing().returning(Certificate.id)) is not None


def enqueue(tx: Session, entry_id: UUID, envelope: bytes, *, kind: str, requests: Sequence[UUID]) -> None:
    """Put a signed entry into the inbox, and remember which requests it speaks of.

    Raises:
        BadInput: it is longer than an entry may be.
    """
    if len(envelope) > ENVELOPE_LIMIT:
        raise BadInput(f"An entry of the ledger has at most {ENVELOPE_LIMIT} bytes; this one has {len(envelope)}")
    tx.connection().exec_driver_sql(_ENQUEUE, (entry_id, kind, envelope))
    if requests:
        tx.execute(insert(EntryOfRequest), [{"request_id": each, "entry_id": entry_id} for each in requests])


def certificate_of(tx: Session, request_id: UUID) -> Certificate:
    """The request's newest certificate, which supersedes the others."""
    later = aliased(Certificate)
    newest = ~exists().where(later.supersedes == Certificate.id)
    found = tx.scalar(select(Certificate).where(Certificate.request_id == request_id, newest))
    if found is None:
        raise NotFound("The request has no certificate yet")
    return found


# ---- what the sequencer does ----------------------------------------------------------------------------------------


def lock(tx: Session) -> bool:
    """Become the sequencer until the transaction ends; False if somebody else is."""
    return tx.scalars(select(func.pg_try_advisory_xact_lock(SEQUENCER))).one()


@contextmanager
def alone(engine: Engine, lock: int) -> Generator[bool]:
    """Whether nobody else holds an advisory lock; if so it is ours till the block ends, and no transaction is open."""
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        mine = connection.scalars(select(func.pg_try_advisory_lock(lock))).one()
        try:
            yield mine
        finally:
            if mine:
                connection.execute(select(func.pg_advisory_unlock(lock)))


def head(tx: Session) -> LedgerHead:
    """The head, locked; an empty one before the first entry."""
    tx.execute(upsert(LedgerHead).values(id=1, size=0, frontier=[]).on_conflict_do_nothing())
    return tx.scalars(select(LedgerHead).with_for_update().execution_options(populate_existing=True)).one()


def take(tx: Session, limit: int, *, after: int = 0) -> list[Waiting]:
    """The entries that have waited longest.

    Args:
        after: a place in the inbox below which the caller has taken all that he saw: the rows that he deleted there
            would otherwise be walked over again each time, until the server has cleaned up.
    """
    cursor = tx.connection().connection.cursor(binary=True)
    cursor.execute(_TAKE, [after, limit])
    return [Waiting(*row) for row in cursor.fetchall()]


def settle(tx: Session, taken: Sequence[Waiting], *, first: int, hashes: Sequence[bytes]) -> None:
    """Move entries from the inbox to the ledger, the first of them to index `first`."""
    numbered = enumerate(zip(taken, hashes, strict=True), first)
    rows = ((index, leaf, each.entry_id, each.kind, each.envelope) for index, (each, leaf) in numbered)
    _copy(tx, "ledger_leaf (idx, leaf_hash, entry_id, kind, envelope)", _LEAF, rows)
    tx.execute(delete(LedgerInbox).where(among(LedgerInbox.id, [each.id for each in taken])))


def advance(tx: Session, nodes: Sequence[tuple[Subtree, bytes]], *, size: int, frontier: Sequence[bytes]) -> None:
    """Store the completed subtrees, and the head that stands on them."""
    _copy(tx, "ledger_node (level, idx, hash)", _NODE, ((level, index, value) for (level, index), value in nodes))
    tx.execute(update(LedgerHead).values(size=size, frontier=list(frontier)))


def _copy(tx: Session, target: LiteralString, types: Sequence[str], rows: Iterable[tuple[Any, ...]]) -> None:
    cursor = tx.connection().connection.cursor()
    with cursor.copy(f"COPY {target} FROM STDIN (FORMAT BINARY)") as copy:
        copy.set_types(types)
        for row in rows:
            copy.write_row(row)


def add_checkpoint(tx: Session, *, size: int, root: bytes, note: str) -> None:
    tx.execute(insert(LedgerCheckpoint).values(size=size, root=root, note=note))


# ---- what everybody reads -------------------------------------------------------------------------------------------


def latest_checkpoint(tx: Session) -> LedgerCheckpoint | None:
    return tx.scalar(select(LedgerCheckpoint).order_by(LedgerCheckpoint.size.desc()).limit(1))


def signed_size(tx: Session) -> int:
    """Of the newest checkpoint."""
    return tx.scalars(select(func.coalesce(func.max(LedgerCheckpoint.size), 0))).one()


def waiting(tx: Session) -> tuple[int, float]:
    """How many entries the inbox has, and how long the oldest has waited, in seconds."""
    age = func.extract("epoch", func.clock_timestamp() - func.min(LedgerInbox.created_at))
    count, oldest = tx.execute(select(func.count(), age).select_from(LedgerInbox)).one()
    return count, float(oldest or 0)


def checkpoint_covering(tx: Session, index: int) -> LedgerCheckpoint | None:
    """The first checkpoint whose tree has entry `index`, so that a bundle is the same whenever it is made."""
    return tx.scalar(
        select(LedgerCheckpoint).where(LedgerCheckpoint.size > index).order_by(LedgerCheckpoint.size).limit(1)
    )


def leaf(tx: Session, index: int) -> LedgerLeaf:
    found = tx.get(LedgerLeaf, index)
    if found is None:
        raise NotFound("The ledger has no entry of this index")
    return found


def leaf_of(tx: Session, entry_id: UUID) -> LedgerLeaf | None:
    return tx.scalar(select(LedgerLeaf).where(LedgerLeaf.entry_id == entry_id))


def entries_of(tx: Session, request_id: UUID) -> Sequence[LedgerLeaf]:
    """All that the ledger says of a request, in order; what waits in the inbox is not yet said."""
    of_request = select(EntryOfRequest.entry_id).where(EntryOfRequest.request_id == request_id)
    return tx.scalars(select(LedgerLeaf).where(LedgerLeaf.entry_id.in_(of_request)).order_by(LedgerLeaf.idx)).all()


def nodes(tx: Session, wanted: Sequence[Subtree]) -> Mapping[Subtree, bytes]:
    """The stored subtrees among `wanted`, in one query that reads no other row."""
    cursor = tx.connection().connection.cursor(binary=True)
    cursor.execute(_NODES, [[level for level, _ in wanted], [place for _, place in wanted]])
    return {(level, index): value for level, index, value in cursor.fetchall()}
