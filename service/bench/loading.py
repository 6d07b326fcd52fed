"""A large log, made as a restore would make it: leaves, nodes and head by COPY, and one signed checkpoint."""

from collections.abc import Generator, Sequence
from contextlib import ExitStack, contextmanager
from typing import LiteralString
from uuid import UUID

import psycopg
from psycopg import Copy
from sqlalchemy import insert

from service.bench.deployment import Deployment, envelope, opened
from service.db import ledger
from service.db.session import transaction
from service.db.tables.ledger import LedgerHead
from service.domain import merkle

_LEAF = "COPY ledger_leaf (idx, leaf_hash, entry_id, kind, envelope) FROM STDIN (FORMAT BINARY)"
_NODE = "COPY ledger_node (level, idx, hash) FROM STDIN (FORMAT BINARY)"


def load(of: Deployment, url: str, *, entries: int, size: int) -> None:
    """Fill a fresh database.

    Args:
        size: of an envelope, in bytes.
    """
    frontier: tuple[bytes, ...] = ()
    with (
        _copying(url, _LEAF, ("int8", "bytea", "uuid", "varchar", "bytea")) as leaves,
        _copying(url, _NODE, ("int2", "int8", "bytea")) as nodes,
    ):
        for index in range(entries):
            data = envelope(index, size)
            leaf = merkle.leaf_hash(data)
            leaves.write_row((index, leaf, UUID(bytes=leaf[:16]), "salt", data))
            frontier, done = merkle.grow(frontier, index, leaf)
            for (level, place), node in done:
                nodes.write_row((level, place, node))
    _sign(of, url, entries, frontier)
    _analyse(url)


@contextmanager
def _copying(url: str, statement: LiteralString, types: Sequence[str]) -> Generator[Copy]:
    with ExitStack() as open_:
        connection = open_.enter_context(psycopg.connect(url.replace("+psycopg", "", 1)))
        copy = open_.enter_context(connection.cursor().copy(statement))
        copy.set_types(types)
        yield copy


def _sign(of: Deployment, url: str, size: int, frontier: Sequence[bytes]) -> None:
    root = merkle.fold(frontier)
    with opened(url, "expunge_sequencer") as engine, transaction(engine) as tx:
        tx.execute(insert(LedgerHead).values(id=1, size=size, frontier=list(frontier)))
        ledger.add_checkpoint(tx, size=size, root=root, note=of.keys.checkpoint(size, root))


def _analyse(url: str) -> None:
    """As the server does by itself a minute after a restore, and reads from memory what was written."""
    with psycopg.connect(url.replace("+psycopg", "", 1), autocommit=True) as admin:
        admin.execute("VACUUM (ANALYZE, FREEZE) ledger_leaf, ledger_node")
