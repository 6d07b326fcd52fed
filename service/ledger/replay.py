"""Replaying the ledger: every leaf is hashed again, every node computed again, and compared with what is stored.

Leaves are read in chunks of 2^16, each a complete subtree but the last, so that memory does not grow with the ledger:
the root at a size within a chunk is that of the whole chunks before it, folded over that of the leaves within.
"""

from collections.abc import Callable, Iterator, Sequence
from hashlib import sha256
from typing import NamedTuple

from sqlalchemy.orm import Session

from service.db import leaves
from service.domain import merkle

LEVEL = 16
CHUNK = 1 << LEVEL
Look = Callable[[int, bytes], None]     # at the index and the envelope of an entry


class Difference(Exception):
    """Something is not what it was: one sentence, with the index or the size."""


class Chunk(NamedTuple):
    """Leaves [first, end), replayed, and the roots of the whole chunks before them."""

    first: int
    end: int
    before: tuple[bytes, ...]
    levels: Sequence[Sequence[bytes]]   # nodes of each level, leaves first

    def grown(self) -> tuple[tuple[bytes, ...], list[tuple[merkle.Subtree, bytes]]]:
        """The frontier of the tree that ends with this chunk, and the nodes above the chunk that it completes."""
        if self.end - self.first < CHUNK:
            return (*self.before, *self._within(self.end)), []
        frontier, done = merkle.grow(self.before, self.first >> LEVEL, self.levels[LEVEL][0])
        return frontier, [((LEVEL + level, place), node) for (level, place), node in done[1:]]

    def root(self, size: int) -> bytes:
        """Of the tree of `size` leaves, first < size <= end."""
        return merkle.fold((*self.before, *self._within(size)))

    def _within(self, size: int) -> Iterator[bytes]:
        for level, place in merkle.subtrees(self.first, size):
            yield self.levels[level][place - (self.first >> level)]


def replay(tx: Session, size: int, look: Look | None = None) -> Iterator[Chunk]:
    """The chunks of a ledger of `size` entries, in order.

    Raises:
        Difference: at the first entry or node that is not what it should be.
    """
    frontier: tuple[bytes, ...] = ()
    for first in range(0, size, CHUNK):
        end = min(first + CHUNK, size)
        chunk = Chunk(first, end, frontier, _pyramid(_hashes(tx, first, end, look)))
        for level, row in enumerate(chunk.levels):
            _compare(tx, level, first >> level, row)
        frontier, above = chunk.grown()
        for (level, place), node in above:
            _compare(tx, level, place, [node])
        yield chunk


def _hashes(tx: Session, first: int, end: int, look: Look | None) -> list[bytes]:
    """The leaf hashes of [first, end), each computed from the entry's bytes and equal to the stored one."""
    found: list[bytes] = []
    for index, (stored, hashed, envelope) in enumerate(leaves.stream(tx, first, end), first):
        if stored != index:
            raise Difference(f"Entry {index} is missing: the next that is stored is {stored}")
        leaf = sha256(b"\x00" + envelope).digest()      # merkle.leaf_hash, without a call per leaf
        if leaf != hashed:
            raise Difference(f"Entry {index} is not what was sequenced: its bytes do not have the hash beside them")
        if look is not None:
            look(index, bytes(envelope))
        found.append(leaf)
    if first + len(found) != end:
        raise Difference(f"Entry {first + len(found)} is missing: the head counts more")
    return found


def _pyramid(hashes: list[bytes]) -> list[list[bytes]]:
    levels = [hashes]
    while len(levels[-1]) > 1:
        below = levels[-1]
        pairs = zip(below[::2], below[1::2], strict=False)      # the last of an odd number has no parent yet
        levels.append([sha256(b"\x01" + left + right).digest() for left, right in pairs])
    return levels


def _compare(tx: Session, level: int, first: int, computed: Sequence[bytes]) -> None:
    stored = leaves.joined_hashes(tx, level, first, first + len(computed))
    if stored == b"".join(computed):
        return
    for place, node in enumerate(computed):
        if stored[place * 32 : place * 32 + 32] != node:
            raise Difference(f"Node {first + place} of level {level} is not the hash of what lies below it")
    raise Difference(f"Level {level} has more nodes than the ledger has entries for")
