"""Merkle trees of RFC 6962, section 2.1: hashes, roots, proofs and their verification. Standard library only.

    leaf(d)    = SHA-256(0x00 ‖ d)
    node(l, r) = SHA-256(0x01 ‖ l ‖ r)
    MTH(D[n])  = node(MTH(D[0:k]), MTH(D[k:n])), k = the largest power of two below n

A proof is a list of ranges of leaves, each replaced by the root of that range. Prover and verifier derive the same
ranges from the sizes alone, so a proof is nothing but hashes. A range falls into at most log₂(n) complete subtrees, the
only nodes a log has to keep: subtree (level, index) covers the leaves [index·2^level, (index + 1)·2^level).
"""

from collections.abc import Callable, Iterable, Sequence
from hashlib import sha256

Range = tuple[int, int]     # leaves [start, end)
Subtree = tuple[int, int]   # (level, index), complete

EMPTY = sha256(b"").digest()
MAX_SIZE = 2**62            # keeps a size read from a hostile file from costing time


def leaf_hash(data: bytes) -> bytes:
    """The hash of an entry."""
    return sha256(b"\x00" + data).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """The hash of two neighbouring subtrees."""
    return sha256(b"\x01" + left + right).digest()


def grow(frontier: Sequence[bytes], size: int, leaf: bytes) -> tuple[tuple[bytes, ...], list[tuple[Subtree, bytes]]]:
    """Append one leaf: the new frontier, and the subtrees that the leaf completes, itself included.

    Args:
        frontier: roots of the complete subtrees that `size` leaves fall into, largest first.
    """
    rest, level, node = list(frontier), 0, leaf
    done = [((0, size), leaf)]
    while size >> level & 1:
        node = node_hash(rest.pop(), node)
        level += 1
        done.append(((level, size >> level), node))
    return (*rest, node), done


def fold(frontier: Sequence[bytes]) -> bytes:
    """The root over complete subtrees, largest first."""
    if not frontier:
        return EMPTY
    *rest, node = frontier
    for left in reversed(rest):
        node = node_hash(left, node)
    return node


def root(leaves: Iterable[bytes]) -> bytes:
    """The root over leaf hashes."""
    frontier: tuple[bytes, ...] = ()
    for size, leaf in enumerate(leaves):
        frontier, _ = grow(frontier, size, leaf)
    return fold(frontier)


# ---- which ranges a proof is made of --------------------------------------------------------------------------------


def inclusion_ranges(index: int, size: int) -> list[Range]:
    """The siblings on the way from leaf `index` up to the root of `size` leaves."""
    if not 0 <= index < size <= MAX_SIZE:
        raise ValueError("the leaf is not in a tree of this size")
    ranges: list[Range] = []
    start, end = 0, size
    while end - start > 1:
        middle = start + _split(end - start)
        ranges.append((middle, end) if index < middle else (start, middle))
        start, end = (start, middle) if index < middle else (middle, end)
    return ranges[::-1]


def consistency_ranges(first: int, second: int) -> list[Range]:
    """The range that ends where the first tree ends, then its siblings up to the root of the second tree."""
    if not 0 < first <= second <= MAX_SIZE:
        raise ValueError("the first tree must not be empty, nor larger than the second")
    ranges: list[Range] = []
    start, end = 0, second
    while end != first:
        middle = start + _split(end - start)
        ranges.append((middle, end) if first <= middle else (start, middle))
        start, end = (start, middle) if first <= middle else (middle, end)
    return [(start, end), *ranges[::-1]]


def subtrees(start: int, end: int) -> list[Subtree]:
    """The complete subtrees that a proof's range falls into, largest first."""
    found: list[Subtree] = []
    while start < end:
        level = (end - start).bit_length() - 1
        found.append((level, start >> level))
        start += 1 << level
    return found


def _split(n: int) -> int:
    """The largest power of two below n."""
    return 1 << (n - 1).bit_length() - 1


# ---- proofs ---------------------------------------------------------------------------------------------------------


def inclusion(index: int, size: int, hash_of: Callable[[Subtree], bytes]) -> list[bytes]:
    """The audit path of leaf `index` in the tree of `size` leaves, from the leaf's sibling upwards."""
    return [_range_root(each, hash_of) for each in inclusion_ranges(index, size)]


def consistency(first: int, second: int, hash_of: Callable[[Subtree], bytes]) -> list[bytes]:
    """Evidence that the tree of `second` leaves begins with the tree of `first` leaves."""
    return [_range_root(each, hash_of) for each in _sent(first, second)]


def _sent(first: int, second: int) -> list[Range]:
    """The verifier knows the root of [0, first) already, so a proof leaves that range out."""
    if first in (0, second):
        return []
    return [each for each in consistency_ranges(first, second) if each != (0, first)]


def inclusion_subtrees(index: int, size: int) -> list[Subtree]:
    """Every stored node that `inclusion` asks for."""
    return [tree for each in inclusion_ranges(index, size) for tree in subtrees(*each)]


def consistency_subtrees(first: int, second: int) -> list[Subtree]:
    """Every stored node that `consistency` asks for."""
    return [tree for each in _sent(first, second) for tree in subtrees(*each)]


def _range_root(span: Range, hash_of: Callable[[Subtree], bytes]) -> bytes:
    return fold([hash_of(tree) for tree in subtrees(*span)])


# ---- verification ---------------------------------------------------------------------------------------------------


def verify_inclusion(index: int, size: int, path: Sequence[bytes], *, leaf: bytes, root: bytes) -> bool:
    """Whether `leaf` (a leaf hash) is entry `index` of the tree of `size` leaves with this root."""
    if not 0 <= index < size <= MAX_SIZE:
        return False
    siblings = inclusion_ranges(index, size)
    if len(path) != len(siblings):
        return False
    node = leaf
    for (start, _), sibling in zip(siblings, path, strict=True):
        node = node_hash(node, sibling) if start > index else node_hash(sibling, node)
    return node == root


def verify_consistency(
    first: int, second: int, path: Sequence[bytes], *, first_root: bytes, second_root: bytes
) -> bool:
    """Whether the tree of `second` leaves begins with the tree of `first` leaves."""
    if not 0 <= first <= second <= MAX_SIZE:
        return False
    if first == 0:
        return not path and first_root == EMPTY
    seed, *siblings = consistency_ranges(first, second)
    hashes = [first_root, *path] if seed == (0, first) else list(path)
    if len(hashes) != 1 + len(siblings):
        return False
    old = new = hashes[0]
    for (start, _), sibling in zip(siblings, hashes[1:], strict=True):
        old = old if start >= first else node_hash(sibling, old)
        new = node_hash(new, sibling) if start >= first else node_hash(sibling, new)
    return old == first_root and new == second_root
