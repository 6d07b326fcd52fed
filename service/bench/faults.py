"""A sequencer that is killed with -9 again and again while writers issue certificates; then the log is looked at."""

import time
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from multiprocessing.context import ForkServerContext, ForkServerProcess
from multiprocessing.synchronize import Event
from pathlib import Path
from uuid import UUID, uuid4

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from service.bench import sample
from service.bench.children import PATIENCE_S, ended, forks
from service.bench.deployment import ORIGIN, Deployment, envelope, opened
from service.db.session import transaction
from service.db.tables.ledger import Certificate, LedgerCheckpoint, LedgerInbox, LedgerLeaf
from service.domain import merkle
from service.errors import Unavailable
from service.ledger import keys
from service.ledger.append import issue
from service.ledger.checkpoints import check_note, parse
from service.ledger.sequencer import drain
from service.ledger.untrusted import RefusedError

WRITERS = 8
KILL_EVERY_S = 0.3
PAUSE_S = 0.04      # of a writer between two certificates, so that a sequencer gets something done before it dies
IDLE_S = 0.005


@dataclass(slots=True)
class Faults:
    """What happened, and what is wrong with the log after it; all but the first four should be 0."""

    kills: int
    while_killed: int       # entries that had their place before the last kill
    certificates: int       # that writers were told are issued
    checkpoints: int = 0
    lost: int = 0           # issued, and not in the log
    doubled: int = 0        # in it more often than once
    unknown: int = 0        # in it, and never issued
    gaps: int = 0           # places without an entry
    altered: int = 0        # entries that are not the certificate's bytes, or not under their hash
    forks: int = 0          # checkpoints that no trusted key signed, or that are no prefix of the log

    @property
    def sound(self) -> bool:
        return not any((self.lost, self.doubled, self.unknown, self.gaps, self.altered, self.forks))


def faults(of: Deployment, *, seconds: float, size: int) -> Faults:
    """Eight writers, each in a process of its own, for so many seconds; then the inbox is drained, and all compared.

    Args:
        size: of an envelope, in bytes.
    """
    url, children = of.database("faults"), forks()
    with opened(url) as admin, transaction(admin) as tx:
        model_id = sample.add_model(tx)
    with _writing(children, of.folder, partial(_issue, url, model_id, size)):
        kills = _kill_again_and_again(children, url, of.folder / "keys", seconds)
    issued = [UUID(line) for path in of.folder.glob("issued-*") for line in path.read_text().split()]
    with opened(url) as engine:
        with transaction(engine) as tx:
            before = tx.scalar(select(func.count()).select_from(LedgerLeaf)) or 0
        while drain(engine, of.keys, ORIGIN):
            pass
        with transaction(engine) as tx:
            return inspected(tx, of.keys, Faults(kills, before, len(issued)), set(issued))


# ---- writers --------------------------------------------------------------------------------------------------------


@contextmanager
def _writing(of: ForkServerContext, folder: Path, work: "partial[None]") -> Generator[None]:
    """Writers that work until the block ends; each leaves a file with what it was told is issued."""
    stop = of.Event()
    told = (folder / f"issued-{number}" for number in range(WRITERS))
    children = [of.Process(target=work, args=(path, stop), daemon=True) for path in told]
    for child in children:
        child.start()
    try:
        yield
    finally:
        stop.set()
        ended(children)


def _issue(url: str, model_id: UUID, size: int, told: Path, stop: Event) -> None:
    with opened(url, "expunge_app") as engine, told.open("w") as file:
        while not stop.is_set():
            certificate_id = uuid4()
            with transaction(engine) as tx:
                request_id = sample.add_request(tx, model_id)
                sealed = envelope(certificate_id.int, size)
                issue(tx, request_id=request_id, certificate_id=certificate_id, envelope=sealed)
            file.write(f"{certificate_id}\n")
            stop.wait(PAUSE_S)


# ---- the sequencer --------------------------------------------------------------------------------------------------


def _kill_again_and_again(of: ForkServerContext, url: str, folder: Path, seconds: float) -> int:
    """Each sequencer lives for 300 ms after its first look at the inbox; returns how many did."""
    end, kills = time.monotonic() + seconds, 0
    while time.monotonic() < end:
        ready = of.Event()
        sequencer = of.Process(target=_order, args=(url, folder, ready), daemon=True)
        sequencer.start()
        _await(ready, sequencer)
        time.sleep(KILL_EVERY_S)
        sequencer.kill()
        sequencer.join()
        kills += 1
    return kills


def _await(ready: Event, sequencer: ForkServerProcess) -> None:
    if not ready.wait(PATIENCE_S) or not sequencer.is_alive():
        raise Unavailable("The sequencer did not start")


def _order(url: str, folder: Path, ready: Event) -> None:
    signers = keys.load(folder)
    with opened(url, "expunge_sequencer") as engine:
        while True:
            if not drain(engine, signers, ORIGIN):
                time.sleep(IDLE_S)
            ready.set()


# ---- afterwards -----------------------------------------------------------------------------------------------------


@dataclass(slots=True)
class _Seen:
    """What one walk over the log has gathered."""

    roots: dict[int, bytes] = field(default_factory=dict[int, bytes])       # of the sizes that were signed
    entries: dict[UUID, int] = field(default_factory=dict[UUID, int])       # how often each is there
    places: int = 0
    altered: int = 0


def inspected(tx: Session, signers: keys.Keys, found: Faults, issued: set[UUID]) -> Faults:
    """What was found, and what is wrong with the log, given the certificates that writers were told are issued."""
    notes = tx.execute(select(LedgerCheckpoint.size, LedgerCheckpoint.root, LedgerCheckpoint.note)).all()
    seen = _walk(tx, {size for size, _, _ in notes})
    waiting = tx.scalar(select(func.count()).select_from(LedgerInbox)) or 0
    found.checkpoints = len(notes)
    found.lost = len(issued - seen.entries.keys()) + waiting
    found.doubled = sum(count - 1 for count in seen.entries.values())
    found.unknown = len(seen.entries.keys() - set(tx.scalars(select(Certificate.id))))
    found.gaps = seen.places - sum(seen.entries.values())
    found.altered = seen.altered
    found.forks = sum(not _is_prefix(signers, size, note, root, seen.roots) for size, root, note in notes)
    return found


def _walk(tx: Session, sizes: set[int]) -> _Seen:
    """Every entry in order beside its certificate; the tree is grown anew."""
    seen, frontier = _Seen(), tuple[bytes, ...]()
    rows = tx.execute(
        select(LedgerLeaf.idx, LedgerLeaf.entry_id, LedgerLeaf.leaf_hash, LedgerLeaf.envelope, Certificate.envelope)
        .outerjoin(Certificate, Certificate.id == LedgerLeaf.entry_id)
        .order_by(LedgerLeaf.idx)
        .execution_options(yield_per=1000)
    )
    for size, (index, entry_id, stored, data, certificate) in enumerate(rows):
        leaf = merkle.leaf_hash(data)
        frontier, _ = merkle.grow(frontier, size, leaf)
        seen.altered += leaf != stored or data != certificate
        seen.entries[entry_id] = seen.entries.get(entry_id, 0) + 1
        seen.places = index + 1
        if size + 1 in sizes:
            seen.roots[size + 1] = merkle.fold(frontier)
    return seen


def _is_prefix(signers: keys.Keys, size: int, note: str, root: bytes, roots: dict[int, bytes]) -> bool:
    try:
        checkpoint = parse(note)
        check_note(checkpoint, [signers.log.vkey])
    except RefusedError:
        return False
    return (checkpoint.size, checkpoint.root) == (size, root) and roots.get(size) == root
