"""How many entries a second: into the inbox by several writers, from it into the tree, and by the bare INSERT."""

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from multiprocessing.synchronize import Barrier
from time import perf_counter
from uuid import UUID, uuid4

import psycopg

from service.bench.children import PATIENCE_S, together
from service.bench.deployment import ORIGIN, Deployment, envelope, opened
from service.db import ledger
from service.db.session import transaction
from service.ledger.keys import Keys
from service.ledger.sequencer import drain

Rows = Sequence[tuple[UUID, bytes]]      # id and envelope of each entry
BATCH = 256
WRITERS = 8
_INSERT = "INSERT INTO ledger_inbox (entry_id, kind, envelope) VALUES (%s, 'salt', %s)"


@dataclass(frozen=True, slots=True)
class Rates:
    """Entries a second."""

    floor: float            # bare INSERTs in batches
    append: float
    inbox: float
    inbox_floor: float      # bare INSERTs of the same writers, each a transaction


def rates(of: Deployment, *, entries: int, size: int) -> Rates:
    """Fill the inbox, drain it, and let the writers fill it again, twice, in a fresh database.

    Args:
        entries: how many each of the four handles.
        size: of an envelope, in bytes.
    """
    url = of.database("rates")
    return Rates(
        floor=_floor(url, _numbered(0, entries, size)),
        append=_append(url, of.keys, entries),
        inbox=_inbox(url, _enqueue, entries=entries // WRITERS, size=size),
        inbox_floor=_inbox(url, _insert, entries=entries // WRITERS, size=size),
    )


def _numbered(first: int, n: int, size: int) -> Rows:
    return [(uuid4(), envelope(number, size)) for number in range(first, first + n)]


def _floor(url: str, rows: Rows) -> float:
    """Bare INSERTs of the same bytes, a batch per transaction and statement, on one connection."""
    with psycopg.connect(url.replace("+psycopg", "", 1)) as connection, connection.cursor() as cursor:
        start = perf_counter()
        for first in range(0, len(rows), BATCH):
            cursor.executemany(_INSERT, rows[first : first + BATCH])
            connection.commit()
        return len(rows) / (perf_counter() - start)


def _append(url: str, keys: Keys, entries: int) -> float:
    """The scheduler's own loop, until nothing waits."""
    with opened(url, "expunge_sequencer") as engine:
        start, done = perf_counter(), 0
        while done < entries:
            done += drain(engine, keys, ORIGIN, BATCH)
        return done / (perf_counter() - start)


def _inbox(url: str, write: Callable[[str, Rows], Iterator[None]], *, entries: int, size: int) -> float:
    """Each writer is a process, each entry a transaction."""
    spans = together(WRITERS, partial(_write, url, write, entries, size))
    return WRITERS * entries / (max(end for _, end in spans) - min(start for start, _ in spans))


def _write(
    url: str, write: Callable[[str, Rows], Iterator[None]], entries: int, size: int, number: int, barrier: Barrier
) -> tuple[float, float]:
    written = write(url, _numbered(number * entries, entries, size))
    next(written)       # it is connected
    barrier.wait(PATIENCE_S)
    start = perf_counter()
    deque(written, maxlen=0)
    return start, perf_counter()


def _enqueue(url: str, rows: Rows) -> Iterator[None]:
    """As the service does it; yields once when it is ready, and then after each entry."""
    with opened(url, "expunge_app") as engine:
        engine.connect().close()
        yield
        for entry_id, sealed in rows:
            with transaction(engine) as tx:
                ledger.enqueue(tx, entry_id, sealed, kind="salt", requests=[])
            yield


def _insert(url: str, rows: Rows) -> Iterator[None]:
    """The same with the bare statement, which is a transaction by itself."""
    with psycopg.connect(url.replace("+psycopg", "", 1), autocommit=True) as connection:
        yield
        for row in rows:
            connection.execute(_INSERT, row)
            yield
