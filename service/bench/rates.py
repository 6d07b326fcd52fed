"""How many entries a second: into the inbox by several writers, from it into the tree, and by the bare INSERT."""

from collections.abc import Sequence
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

BATCH = 256
WRITERS = 8
_INSERT = "INSERT INTO ledger_inbox (entry_id, kind, envelope) VALUES (%s, 'salt', %s)"


@dataclass(frozen=True, slots=True)
class Rates:
    """Entries a second."""

    floor: float
    append: float
    inbox: float


def rates(of: Deployment, *, entries: int, size: int) -> Rates:
    """Fill the inbox, drain it, and let the writers fill it again, in a fresh database.

    Args:
        entries: how many each of the three handles.
        size: of an envelope, in bytes.
    """
    url = of.database("rates")
    return Rates(
        floor=_floor(url, _numbered(0, entries, size)),
        append=_append(url, of.keys, entries),
        inbox=_inbox(url, entries=entries // WRITERS, size=size),
    )


def _numbered(first: int, n: int, size: int) -> list[tuple[UUID, bytes]]:
    return [(uuid4(), envelope(number, size)) for number in range(first, first + n)]


def _floor(url: str, rows: Sequence[tuple[UUID, bytes]]) -> float:
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


def _inbox(url: str, *, entries: int, size: int) -> float:
    """Each writer is a process, each entry a transaction."""
    spans = together(WRITERS, partial(_write, url, entries, size))
    return WRITERS * entries / (max(end for _, end in spans) - min(start for start, _ in spans))


def _write(url: str, entries: int, size: int, number: int, barrier: Barrier) -> tuple[float, float]:
    waiting = _numbered(number * entries, entries, size)
    with opened(url, "expunge_app") as engine:
        engine.connect().close()
        barrier.wait(PATIENCE_S)
        start = perf_counter()
        for entry_id, sealed in waiting:
            with transaction(engine) as tx:
                ledger.enqueue(tx, entry_id, sealed, kind="salt", requests=[])
        return start, perf_counter()
