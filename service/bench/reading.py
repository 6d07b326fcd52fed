"""Reading a log of some size: proofs, and the whole of it replayed."""

from collections.abc import Callable
from dataclasses import dataclass
from random import Random
from statistics import median, quantiles
from time import perf_counter

from sqlalchemy import Engine, text
from sqlalchemy.orm import Session

from service.bench.deployment import Deployment, opened
from service.db.session import transaction
from service.errors import LedgerBroken
from service.ledger import proofs
from service.ledger.checkpoints import read_keys
from service.ledger.monitor import Monitor
from service.storage import open_store

Prove = Callable[[Session, int, int], list[bytes]]
# Of the statistics that the server keeps for itself: what this connection has read and not yet reported.
_ROWS = text("SELECT seq_tup_read + idx_tup_fetch FROM pg_stat_xact_user_tables WHERE relname = 'ledger_node'")


@dataclass(frozen=True, slots=True)
class Proofs:
    """One kind of proof, each of random places in the log and in a transaction of its own."""

    p50_ms: float
    p99_ms: float
    rows: int       # of the tree that the greediest one read


def inclusions(url: str, *, size: int, n: int) -> Proofs:
    """Of entry `index` in the first `size` entries, for n random pairs."""
    return _measure(url, proofs.inclusion, _pairs(size, n))


def consistencies(url: str, *, size: int, n: int) -> Proofs:
    """Between the trees of two sizes, for n random pairs."""
    return _measure(url, proofs.consistency, _pairs(size, n))


def _pairs(size: int, n: int) -> list[tuple[int, int]]:
    """(low, high) with 0 <= low < high <= size; the hardest are among them: one below a power of two, and the end."""
    chance = Random(0)
    tops = [chance.randint(1, size) for _ in range(n - 2)] + [size, (1 << size.bit_length() - 1) - 1]
    return [(chance.randrange(top), top) for top in tops]


def _measure(url: str, prove: Prove, pairs: list[tuple[int, int]]) -> Proofs:
    with opened(url, "expunge_app") as engine:
        rows = max(_rows_read(engine, prove, *pair) for pair in pairs[-200:])
        times = sorted(_seconds(engine, prove, *pair) for pair in pairs)
    return Proofs(1e3 * median(times), 1e3 * quantiles(times, n=100)[98], rows)


def _seconds(engine: Engine, prove: Prove, low: int, high: int) -> float:
    start = perf_counter()
    with transaction(engine) as tx:
        prove(tx, low, high)
    return perf_counter() - start


def _rows_read(engine: Engine, prove: Prove, low: int, high: int) -> int:
    with transaction(engine) as tx:
        before = tx.scalar(_ROWS) or 0
        prove(tx, low, high)
        return (tx.scalar(_ROWS) or 0) - before


def replay(of: Deployment, url: str) -> float:
    """Entries a second that the monitor reads, hashes and holds against every node and checkpoint.

    Raises:
        LedgerBroken: the monitor has found a difference, or could not look.
    """
    store = open_store((of.folder / "store").as_uri()).named("log")
    with opened(url, "expunge_app") as engine:
        start = perf_counter()
        found = Monitor(engine, store, read_keys(of.keys.trust)).look()
        seconds = perf_counter() - start
    if found.fault or found.away:
        raise LedgerBroken(found.fault or "The monitor could not look")
    return found.size / seconds
