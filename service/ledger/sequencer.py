"""The sequencer: gives waiting certificates their place in the tree, and signs what the tree has become.

    1. Become the only sequencer, and lock the head.
    2. Take at most `limit` entries from the inbox, in order.
    3. Grow the tree: leaves, completed subtrees, head.
    4. Check, from what is stored, that the new tree begins with the tree that was signed last.
    5. Only then sign and store the new checkpoint.

All of it is one transaction of the caller: a sequencer that dies at any instruction has done nothing, and signed
nothing that anybody could have seen.
"""

from collections.abc import Sequence
from typing import NamedTuple

from sqlalchemy import Engine
from sqlalchemy.orm import Session

from service.db import ledger
from service.db.session import transaction
from service.domain import merkle
from service.errors import LedgerBroken
from service.ledger import proofs
from service.ledger.keyring import Keyring
from service.ledger.keys import Keys


class Growth(NamedTuple):
    """A tree, and the nodes that made it larger."""

    size: int
    frontier: tuple[bytes, ...]
    nodes: tuple[tuple[merkle.Subtree, bytes], ...] = ()


def drain(engine: Engine, keys: Keys | Keyring, origin: str, limit: int = 256, *, batches: int = 64) -> int:
    """Sequence until less than a full batch waits, each in a transaction of its own; returns how many entries.

    Args:
        batches: at most so many, since the caller has other things to do.
    """
    total, last = 0, 0
    for _ in range(batches):
        with transaction(engine) as tx:
            batch = _batch(tx, keys, origin, limit, after=last)
        total, last = total + batch.size, batch.last
        if batch.size < limit:
            break
    return total


def sequence(tx: Session, keys: Keys | Keyring, origin: str, limit: int = 256) -> int:
    """Move waiting entries into the ledger and sign it.

    Returns:
        How many entries were sequenced; 0 when none waits, or another sequencer is at work.
    Raises:
        LedgerBroken: what is stored contradicts the last checkpoint; nothing was signed.
    """
    return _batch(tx, keys, origin, limit, after=0).size


class _Batch(NamedTuple):
    size: int
    last: int       # place in the inbox of the last entry


def _batch(tx: Session, keys: Keys | Keyring, origin: str, limit: int, *, after: int) -> _Batch:
    if not ledger.lock(tx):  # 1
        return _Batch(0, after)
    held = keys.keys if isinstance(keys, Keyring) else keys     # under the lock: no rotation comes in between
    if origin != held.origin:
        raise LedgerBroken("The ledger's key belongs to another origin")
    head = ledger.head(tx)
    before = Growth(head.size, tuple(head.frontier))
    taken = ledger.take(tx, limit, after=after)  # 2
    if not taken:
        return _Batch(0, after)
    hashes = [merkle.leaf_hash(each.envelope) for each in taken]
    grown = _grow(before, hashes)  # 3
    ledger.settle(tx, taken, first=before.size, hashes=hashes)
    ledger.advance(tx, grown.nodes, size=grown.size, frontier=grown.frontier)
    _sign(tx, held, before=before, after=grown)
    return _Batch(len(taken), taken[-1].id)


def _grow(tree: Growth, hashes: Sequence[bytes]) -> Growth:
    size, frontier, nodes = tree.size, tree.frontier, list[tuple[merkle.Subtree, bytes]]()
    for leaf in hashes:
        frontier, done = merkle.grow(frontier, size, leaf)
        nodes += done
        size += 1
    return Growth(size, frontier, tuple(nodes))


def _sign(tx: Session, keys: Keys, *, before: Growth, after: Growth) -> None:
    root = merkle.fold(after.frontier)
    last = ledger.latest_checkpoint(tx)
    size, signed_root = (last.size, last.root) if last else (0, merkle.EMPTY)
    path = proofs.between(tx, size, after.size)  # 4
    extends = merkle.verify_consistency(size, after.size, path, first_root=signed_root, second_root=root)
    if size != before.size or not extends:
        raise LedgerBroken("The stored tree does not begin with the tree that was signed last")
    ledger.add_checkpoint(tx, size=after.size, root=root, note=keys.checkpoint(after.size, root))  # 5
