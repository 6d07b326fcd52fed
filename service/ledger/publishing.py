"""Publishing: the log as static files below `log/` of the store, for anyone who has a web server and no trust in us.

    1. Read the checkpoint that was published last; it must be one of this tree, else somebody has another history.
    2. Write every tile that the tree has gained since: what is there already stays.
    3. Remove the narrower tiles that full ones have taken the place of (tlog-tiles allows it from then on).
    4. Replace the checkpoint.

Killed between any two writes, the next attempt begins at the same published checkpoint, and ends at the same files.
"""

from sqlalchemy import Engine
from sqlalchemy.orm import Session

from service.db import leaves, ledger
from service.db.session import transaction
from service.domain import merkle
from service.errors import LedgerBroken, NotFound
from service.ledger import checkpoints, proofs, tiles
from service.ledger.tiles import Tile
from service.ledger.untrusted import RefusedError
from service.storage import Named

FOLDER, CHECKPOINT = "log", "checkpoint"
PUBLISHER = 0x7075_626C_6973    # the advisory lock of whoever writes those files: "publis"


def publish(engine: Engine, log: Named, origin: str) -> int | None:
    """Bring the files up to the newest checkpoint.

    Returns:
        The size that is published now; None when nothing was new, or another process is at it.
    Raises:
        LedgerBroken: the published checkpoint is not of this ledger's history; nothing was written.
        Unavailable: the store is away.
    """
    with ledger.alone(engine, PUBLISHER) as mine:
        return _publish(engine, log, origin) if mine else None


def _publish(engine: Engine, log: Named, origin: str) -> int | None:
    note = read(log)
    with transaction(engine) as tx:
        latest = ledger.latest_checkpoint(tx)
        before = 0 if note is None else _size_of(tx, note, origin)  # 1
    if latest is None or latest.size == before:
        return None
    for tile in tiles.grown(before, latest.size):
        _write(engine, log, tile)
    log.replace(CHECKPOINT, latest.note.encode())  # 4
    return latest.size


def read(log: Named) -> str | None:
    """The published checkpoint, unverified."""
    try:
        return log.get(CHECKPOINT).decode("utf-8", "replace")
    except NotFound:
        return None


def _size_of(tx: Session, note: str, origin: str) -> int:
    """Its size, after it has been compared with what is stored."""
    try:
        published = checkpoints.parse(note)
    except RefusedError as refusal:
        raise LedgerBroken(f"The published checkpoint cannot be read: {refusal}") from None
    if published.origin != origin:
        raise LedgerBroken("The published checkpoint is of another ledger")
    latest = ledger.latest_checkpoint(tx)
    if latest is None or latest.size < published.size:
        raise LedgerBroken(f"A checkpoint of {published.size} entries is published, and the ledger has fewer")
    path = proofs.between(tx, published.size, latest.size)
    if not merkle.verify_consistency(
        published.size, latest.size, path, first_root=published.root, second_root=latest.root
    ):
        raise LedgerBroken(f"The published checkpoint of {published.size} entries is not a beginning of the ledger")
    return published.size


def content(tx: Session, tile: Tile) -> bytes:
    """The bytes of a tile, from the rows; LedgerBroken if there are fewer than it must hold."""
    first, end, entries = tile.first, tile.first + tile.width, tile.level is None
    held = leaves.envelopes(tx, first, end) if entries else leaves.hashes(tx, tile.node_level, first, end)
    if len(held) != tile.width:
        raise LedgerBroken(f"The ledger lacks rows that {tile.path} is made of")
    return tiles.bundle(held) if entries else tiles.hash_tile(held)


def _write(engine: Engine, log: Named, tile: Tile) -> None:
    if not log.has(tile.path):
        with transaction(engine) as tx:
            data = content(tx, tile)
        log.put(tile.path, data)  # 2
    if tile.width == tiles.WIDTH:
        _clear(engine, log, tile)  # 3


def _clear(engine: Engine, log: Named, full: Tile) -> None:
    first, end = (place << full.node_level for place in (full.first, full.first + tiles.WIDTH))
    with transaction(engine) as tx:
        sizes = leaves.checkpoint_sizes(tx, first, end)
    for tile in tiles.partials(full, sizes):
        log.remove(tile.path)
