"""Queries on ranges of the ledger: what tiles are made of, and what a replay reads."""

import struct
from collections.abc import Iterator, Sequence

from sqlalchemy import LargeBinary, func, literal, select, text
from sqlalchemy.dialects.postgresql import aggregate_order_by
from sqlalchemy.orm import Session

from service.db.tables.ledger import LedgerCheckpoint, LedgerLeaf, LedgerNode

Leaf = tuple[int, bytes, memoryview | bytes]    # index, stored hash, envelope

_ENTRIES = "COPY (SELECT idx, leaf_hash, envelope FROM ledger_leaf WHERE idx >= %s AND idx < %s ORDER BY idx)"
_SIGNATURE = b"PGCOPY\n\xff\r\n\0" + bytes(8)
_ROW = struct.Struct(">hiqi32si")       # 3 fields: 8 bytes, the index, 32 bytes, the hash, the envelope's length


def envelopes(tx: Session, first: int, end: int) -> Sequence[bytes]:
    """The entries [first, end), in order."""
    wanted = LedgerLeaf.idx.between(first, end - 1)
    return tx.scalars(select(LedgerLeaf.envelope).where(wanted).order_by(LedgerLeaf.idx)).all()


def stream(tx: Session, first: int, end: int) -> Iterator[Leaf]:
    """The same with their indices and hashes, as the server sends them: constant memory, no row is decoded twice.

    PostgreSQL sends each row of COPY BINARY as a message of its own, the first behind a header of 19 bytes.
    """
    tx.execute(text("SET LOCAL enable_sort = off"))     # the primary key has the order already
    cursor = tx.connection().connection.cursor()
    with cursor.copy(f"{_ENTRIES} TO STDOUT (FORMAT BINARY)", [first, end]) as copy:
        for block in copy:
            row = block[len(_SIGNATURE) :] if bytes(block[: len(_SIGNATURE)]) == _SIGNATURE else block
            if len(row) > 2:            # the trailer has no more
                yield _leaf(row)


def _leaf(row: memoryview | bytes) -> Leaf:
    """Of a row whose hash is none, a leaf that is equal to no other."""
    if len(row) >= _ROW.size:
        fields, eight, index, width, hashed, length = _ROW.unpack_from(row)
        if (fields, eight, width, length) == (3, 8, 32, len(row) - _ROW.size):
            return index, hashed, row[_ROW.size :]
    return struct.unpack_from(">q", row, 6)[0], b"", b""


def hashes(tx: Session, level: int, first: int, end: int) -> Sequence[bytes]:
    """The roots of the complete subtrees [first, end) of a level, in order."""
    wanted = LedgerNode.idx.between(first, end - 1)
    return tx.scalars(
        select(LedgerNode.hash).where(LedgerNode.level == level, wanted).order_by(LedgerNode.idx)
    ).all()


def joined_hashes(tx: Session, level: int, first: int, end: int) -> bytes:
    """The same one after the other, put together by the server."""
    ordered = aggregate_order_by(literal(b"", LargeBinary), LedgerNode.idx)
    wanted = LedgerNode.idx.between(first, end - 1)
    joined = select(func.string_agg(LedgerNode.hash, ordered)).where(LedgerNode.level == level, wanted)
    return tx.scalar(joined) or b""


def node_count(tx: Session) -> int:
    return tx.scalars(select(func.count()).select_from(LedgerNode)).one()


def end(tx: Session) -> int:
    """One more than the largest index that is stored."""
    return tx.scalars(select(func.coalesce(func.max(LedgerLeaf.idx), -1))).one() + 1


def checkpoint_sizes(tx: Session, above: int, below: int) -> Sequence[int]:
    """Sizes of the checkpoints between these two, both excluded."""
    size = LedgerCheckpoint.size
    return tx.scalars(select(size).where(size > above, size < below).order_by(size)).all()


def checkpoints(tx: Session, above: int, to: int) -> Sequence[LedgerCheckpoint]:
    """The checkpoints of sizes in (above, to], in order."""
    size = LedgerCheckpoint.size
    return tx.scalars(select(LedgerCheckpoint).where(size > above, size <= to).order_by(size)).all()
