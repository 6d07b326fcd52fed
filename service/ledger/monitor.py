"""The monitor: is the ledger what it was, and what was said of it outside?

    1. Read the notes outside: the published checkpoint, and those of every anchor; a key in force signed each.
    2. In one snapshot: head, leaves and last checkpoint are of one size, and no note is of a larger one.
    3. Replay every leaf and every node; the root at the size of every checkpoint and every note is the one it names.
    4. A key that was in force signed each checkpoint.
    5. The head stands on the replayed tree, and every certificate is an entry of it or waits to be one.
    6. On demand: a trusted key signed every entry, and every published tile has the bytes that it should have.

Notes are read before the snapshot is taken: a checkpoint leaves the database only after it was committed, so the ledger
may have grown since then, and cannot be smaller. All this needs the public keys, and the right to read.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass

from sqlalchemy import Engine
from sqlalchemy.orm import Session

from service.db import checks, leaves, ledger
from service.db.tables.ledger import LedgerCheckpoint
from service.domain import merkle
from service.errors import Damaged, NotFound, Unavailable
from service.ledger import publishing, tiles
from service.ledger.anchors import Anchor
from service.ledger.checkpoints import Vkey, signs_certificates
from service.ledger.outside import Note, Outside, checked, gather
from service.ledger.replay import LEVEL, Chunk, Difference, replay
from service.ledger.sealed import NOT_IN_FORCE, Sealed, check_signature
from service.ledger.tiles import Tile
from service.ledger.untrusted import RefusedError
from service.storage import Named


@dataclass(slots=True)
class Finding:
    """What one look found; `fault` is the first difference, `away` names what did not answer."""

    size: int = 0
    checkpoints: int = 0
    notes: int = 0
    fault: str | None = None
    away: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Monitor:
    """Where to look, and whom to trust."""

    engine: Engine
    log: Named                      # the published files
    keys: Sequence[Vkey]
    anchors: Sequence[Anchor] = ()
    signatures: bool = False        # look at that of every entry too
    tiles: bool = False             # and at every published tile

    def look(self) -> Finding:
        """Compare all with all. A difference, or a store that is away, is an answer; a database that is away is none.

        Raises:
            sqlalchemy.exc.OperationalError: the database is away.
        """
        finding = Finding()
        try:
            outside = gather(self.engine, self.log, self.anchors, self._log_keys())
            finding.notes, finding.away = len(outside.notes), tuple(outside.away)
            with checks.snapshot(self.engine) as tx:
                self._compare(tx, outside, finding)
        except Difference as difference:
            finding.fault = str(difference)
        return finding

    def _log_keys(self) -> list[Vkey]:
        return [key for key in self.keys if not signs_certificates(key)]

    def _compare(self, tx: Session, outside: Outside, finding: Finding) -> None:
        size, frontier = checks.head(tx)
        finding.size = size
        _sizes(tx, size, outside.notes)
        notes, computed = _by_chunk(outside.notes), tuple[bytes, ...]()
        for chunk in replay(tx, size, self._signature if self.signatures else None):
            finding.checkpoints += self._checkpoints(tx, chunk)
            _roots(chunk, notes[chunk.first >> LEVEL])
            computed, _ = chunk.grown()
        if computed != frontier:
            raise Difference(f"The head of {size} entries does not stand on what they are")
        _certificates(tx)
        if self.tiles and outside.published is not None:
            try:
                self._tiles(tx, outside.published.size)
            except Unavailable:
                finding.away = (*finding.away, "the store")

    def _checkpoints(self, tx: Session, chunk: Chunk) -> int:
        rows = leaves.checkpoints(tx, chunk.first, chunk.end)
        keys = self._log_keys()
        for row in rows:
            _checkpoint(row, chunk.root(row.size), keys)
        return len(rows)

    def _signature(self, index: int, envelope: bytes) -> None:
        try:
            signers = check_signature(Sealed(envelope, ""), [key for key in self.keys if signs_certificates(key)])
        except RefusedError as refusal:
            raise Difference(f"Entry {index} is not to be trusted: {refusal}") from None
        if not any(key.until is None or index < key.until for key in signers):
            raise Difference(f"Entry {index} is not to be trusted: {NOT_IN_FORCE}")

    def _tiles(self, tx: Session, size: int) -> None:
        for tile in tiles.grown(0, size):
            due = publishing.content(tx, tile)
            if self._published(tile) != due and not self._outgrown(tile, due):
                raise Difference(f"The published {tile.path} is missing, or not what the ledger holds")

    def _outgrown(self, tile: Tile, due: bytes) -> bool:
        """Whether a full tile has taken the place of this one since we began, and begins like it."""
        return tile.width < tiles.WIDTH and self._published(tile._replace(width=tiles.WIDTH))[: len(due)] == due

    def _published(self, tile: Tile) -> bytes:
        with suppress(NotFound, Damaged):
            return self.log.get(tile.path)
        return b""


def _by_chunk(notes: Sequence[Note]) -> Mapping[int, list[Note]]:
    grouped: defaultdict[int, list[Note]] = defaultdict(list)
    for note in sorted(notes, key=lambda each: each.checkpoint.size):
        grouped[max(note.checkpoint.size - 1, 0) >> LEVEL].append(note)
    return grouped


def _sizes(tx: Session, size: int, notes: Sequence[Note]) -> None:
    for note in notes:
        if note.checkpoint.size > size:
            counted = note.checkpoint.size
            raise Difference(f"{note.where} counts {counted} entries, and the ledger has {size}: its end was cut off")
    stored, signed = leaves.end(tx), ledger.signed_size(tx)
    if stored != size:
        raise Difference(f"The head counts {size} entries, and the last that is stored would be number {stored}")
    if signed != size:
        raise Difference(f"The head counts {size} entries, and the last checkpoint {signed}")
    nodes, due = leaves.node_count(tx), sum(size >> level for level in range(size.bit_length()))
    if nodes > due:
        raise Difference(f"A tree of {size} entries has {due} nodes, and {nodes} are stored")


def _roots(chunk: Chunk, notes: Sequence[Note]) -> None:
    for where, checkpoint in notes:
        if checkpoint.root != (chunk.root(checkpoint.size) if checkpoint.size else merkle.EMPTY):
            raise Difference(f"{where} names another root of {checkpoint.size} entries: the history was rewritten")


def _checkpoint(row: LedgerCheckpoint, root: bytes, keys: Sequence[Vkey]) -> None:
    where = f"The checkpoint of {row.size} entries"
    note = checked(where, row.note, keys)
    if note.size != row.size or note.root != row.root:
        raise Difference(f"{where} is stored beside a note that says otherwise")
    if note.root != root:
        raise Difference(f"{where} names another root than the entries have")


def _certificates(tx: Session) -> None:
    lost, stray, certified = checks.lost_certificate(tx), checks.stray_entry(tx), checks.uncertified_request(tx)
    if lost is not None:
        raise Difference(f"Certificate {lost} is neither an entry nor waiting, with the bytes that were issued")
    if stray is not None:
        raise Difference(f"Entry {stray} is a certificate that is no longer stored as it was issued")
    if certified is not None:
        raise Difference(f"Request {certified} is certified, and its certificate is gone")
