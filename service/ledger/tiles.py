"""The log as static files: which tiles a tree has, how they are named, and what they hold. Pure functions.

Format: C2SP tlog-tiles (https://c2sp.org/tlog-tiles). A tile of level L holds up to 256 nodes of the tree's level 8·L;
a bundle of entries holds up to 256 entries. A tile is written once; one that is not full has its width in its name.
"""

from collections.abc import Iterable, Iterator
from typing import NamedTuple

HEIGHT = 8                  # levels of the tree per level of tiles
WIDTH = 1 << HEIGHT


class Tile(NamedTuple):
    """A tile of hashes, or (level None) a bundle of entries."""

    level: int | None
    place: int
    width: int              # nodes or entries in it, 1 … 256

    @property
    def path(self) -> str:
        kind = "entries" if self.level is None else str(self.level)
        partial = "" if self.width == WIDTH else f".p/{self.width}"
        return f"tile/{kind}/{_number(self.place)}{partial}"

    @property
    def node_level(self) -> int:
        """Level in the tree of what it holds."""
        return HEIGHT * (self.level or 0)

    @property
    def first(self) -> int:
        """Index, at that level, of the first thing that it holds."""
        return self.place * WIDTH


def grown(before: int, after: int) -> Iterator[Tile]:
    """Every tile of a tree of `after` leaves that a tree of `before` leaves does not have; bundles of entries first."""
    yield from _row(None, before, after)
    level = 0
    while after >> HEIGHT * level:
        yield from _row(level, before >> HEIGHT * level, after >> HEIGHT * level)
        level += 1


def _row(level: int | None, before: int, after: int) -> Iterator[Tile]:
    if before == after:
        return
    for place in range(before // WIDTH, -(-after // WIDTH)):
        yield Tile(level, place, min(WIDTH, after - place * WIDTH))


def partials(full: Tile, sizes: Iterable[int]) -> list[Tile]:
    """The narrower tiles in the place of a full one that trees of these sizes had."""
    widths = {(size >> full.node_level) - full.first for size in sizes}
    return [full._replace(width=width) for width in sorted(widths) if 0 < width < WIDTH]


def hash_tile(hashes: Iterable[bytes]) -> bytes:
    """The bytes of a tile of hashes, from its nodes in order."""
    return b"".join(hashes)


def bundle(entries: Iterable[bytes]) -> bytes:
    """The bytes of a bundle: each entry after its length in two bytes, the larger first."""
    return b"".join(len(entry).to_bytes(2, "big") + entry for entry in entries)


def _number(index: int) -> str:
    """Three digits per folder, each but the last marked: 1234067 is x001/x234/067."""
    digits = str(index)
    padded = digits.zfill(-(-len(digits) // 3) * 3)
    *folders, last = (padded[at : at + 3] for at in range(0, len(padded), 3))
    return "".join(f"x{each}/" for each in folders) + last
