"""The judge is the recursive definition of RFC 6962, section 2.1, written down as it stands in the text."""

from hashlib import sha256
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.domain import merkle

LARGEST = 130
ENTRIES = [b"entry %d" % number for number in range(LARGEST)]
LEAVES = [merkle.leaf_hash(entry) for entry in ENTRIES]
CT_ENTRIES = ["", "00", "10", "2021", "3031", "40414243", "5051525354555657", "606162636465666768696a6b6c6d6e6f"]


def split(n):
    k = 1
    while k * 2 < n:
        k *= 2
    return k


def mth(entries):
    if not entries:
        return sha256(b"").digest()
    if len(entries) == 1:
        return sha256(b"\0" + entries[0]).digest()
    k = split(len(entries))
    return sha256(b"\1" + mth(entries[:k]) + mth(entries[k:])).digest()


def audit_path(m, entries):
    if len(entries) == 1:
        return []
    k = split(len(entries))
    if m < k:
        return [*audit_path(m, entries[:k]), mth(entries[k:])]
    return [*audit_path(m - k, entries[k:]), mth(entries[:k])]


def subproof(m, entries, *, known):
    if m == len(entries):
        return [] if known else [mth(entries)]
    k = split(len(entries))
    if m <= k:
        return [*subproof(m, entries[:k], known=known), mth(entries[k:])]
    return [*subproof(m - k, entries[k:], known=False), mth(entries[:k])]


def hash_of(tree):
    level, index = tree
    return mth(ENTRIES[index << level : (index + 1) << level])


ROOTS = [mth(ENTRIES[:size]) for size in range(LARGEST + 1)]


def test_the_root_of_the_eight_leaves_of_certificate_transparency():
    leaves = [merkle.leaf_hash(bytes.fromhex(entry)) for entry in CT_ENTRIES]

    assert merkle.root(leaves).hex() == "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328"


def test_roots_of_every_size_are_those_of_the_definition():
    assert [merkle.root(LEAVES[:size]) for size in range(LARGEST + 1)] == ROOTS


def test_growing_completes_each_subtree_once_and_right():
    frontier, seen = (), {}

    for size, leaf in enumerate(LEAVES):
        frontier, done = merkle.grow(frontier, size, leaf)
        seen |= dict(done)
        assert merkle.fold(frontier) == ROOTS[size + 1]

    assert seen == {tree: hash_of(tree) for tree in seen}
    assert len(seen) == sum(LARGEST >> level for level in range(LARGEST.bit_length()))


@pytest.mark.parametrize("size", range(1, LARGEST + 1))
def test_inclusion_proofs_are_the_audit_paths_and_verify(size):
    for index in range(size):
        path = merkle.inclusion(index, size, hash_of)

        assert path == audit_path(index, ENTRIES[:size])
        assert merkle.verify_inclusion(index, size, path, leaf=LEAVES[index], root=ROOTS[size])


@pytest.mark.parametrize("second", range(1, LARGEST + 1))
def test_consistency_proofs_are_the_subproofs_and_verify(second):
    for first in range(1, second + 1):
        path = merkle.consistency(first, second, hash_of)

        assert path == subproof(first, ENTRIES[:second], known=True)
        assert merkle.verify_consistency(first, second, path, first_root=ROOTS[first], second_root=ROOTS[second])


@pytest.mark.parametrize("size", [1, 2, 3, 7, 8, 13, 64, 100])
def test_an_inclusion_proof_holds_for_no_other_index_size_leaf_or_path(size):
    for index in range(size):
        path = merkle.inclusion(index, size, hash_of)
        wrong = [
            *((other, size, path, LEAVES[index]) for other in range(size) if other != index),
            (index, size, path, LEAVES[(index + 1) % LARGEST]),
            (index, size, [*path, LEAVES[0]], LEAVES[index]),
            (-1, size, path, LEAVES[index]),
            (size, size, path, LEAVES[index]),
            *((index, size, path[:at] + path[at + 1 :], LEAVES[index]) for at in range(len(path))),
            *((index, size, swapped(path, at), LEAVES[index]) for at in range(len(path))),
        ]

        accepted = [w for w in wrong if merkle.verify_inclusion(w[0], w[1], w[2], leaf=w[3], root=ROOTS[size])]

        assert accepted == []


def swapped(path, at):
    return [*path[:at], bytes(b ^ 1 for b in path[at]), *path[at + 1 :]]


def test_a_consistency_proof_holds_for_no_other_history():
    for first in range(1, 40):
        path = merkle.consistency(first, 40, hash_of)
        wrong = [
            (path, ROOTS[first - 1], ROOTS[40]),
            (path, ROOTS[first], ROOTS[41]),
            ([*path, LEAVES[0]], ROOTS[first], ROOTS[40]),
            (path[:-1], ROOTS[first], ROOTS[40]),
            *((swapped(path, at), ROOTS[first], ROOTS[40]) for at in range(len(path))),
        ]

        accepted = [
            p for p, old, new in wrong if merkle.verify_consistency(first, 40, p, first_root=old, second_root=new)
        ]

        assert accepted == []


def test_every_tree_begins_with_the_empty_tree():
    path = merkle.consistency(0, 9, hash_of)

    assert path == []
    assert merkle.verify_consistency(0, 9, path, first_root=ROOTS[0], second_root=ROOTS[9])
    assert not merkle.verify_consistency(0, 9, path, first_root=ROOTS[1], second_root=ROOTS[9])


@pytest.mark.parametrize(("index", "size"), [(0, 0), (-1, 3), (3, 3), (0, 2**63)])
def test_a_proof_of_a_leaf_that_is_not_there_is_refused(index, size):
    with pytest.raises(ValueError, match="not in a tree"):
        merkle.inclusion(index, size, hash_of)


@given(first=st.integers(1, 2**61), second=st.integers(1, 2**61))
def test_proofs_of_huge_trees_stay_logarithmic(first, second):
    first, second = sorted((first, second))

    inclusion, consistency = merkle.inclusion_subtrees(first - 1, second), merkle.consistency_subtrees(first, second)

    assert len(inclusion) <= 2 * second.bit_length()
    assert len(consistency) <= 2 * second.bit_length()


@given(start=st.integers(0, 2**20), blocks=st.integers(1, 2**12))
def test_subtrees_tile_their_range(start, blocks):
    aligned = start * (1 << blocks.bit_length())

    tiles = [(index << level, (index + 1) << level) for level, index in merkle.subtrees(aligned, aligned + blocks)]

    assert tiles[0][0] == aligned
    assert tiles[-1][1] == aligned + blocks
    assert all(left[1] == right[0] for left, right in pairwise(tiles))
