"""Commitments: the judge is HMAC as RFC 2104 defines it, and a tree built by hand."""

from hashlib import sha256
from itertools import permutations

from hypothesis import given
from hypothesis import strategies as st

from service.domain import commitments, merkle

KEY, SALT = b"k" * 32, b"s" * 32
references = st.sets(st.binary(min_size=32, max_size=32), min_size=1, max_size=20)


def hmac_by_hand(key, message):
    block = key.ljust(64, b"\0")
    inner = sha256(bytes(b ^ 0x36 for b in block) + message).digest()
    return sha256(bytes(b ^ 0x5C for b in block) + inner).digest()


def test_a_reference_is_the_hmac_of_kind_and_identifier():
    assert commitments.reference(KEY, "sample", "rivière-7") == hmac_by_hand(KEY, b"sample\0" + "rivière-7".encode())


def test_a_sample_and_a_person_of_one_name_have_different_references():
    assert commitments.reference(KEY, "sample", "7") != commitments.reference(KEY, "subject", "7")


def test_a_commitment_is_the_hmac_of_the_reference():
    assert commitments.commitment(SALT, b"r" * 32) == hmac_by_hand(SALT, b"r" * 32)


def test_the_forget_root_is_the_tree_over_the_sorted_commitments():
    refs = [b"a" * 32, b"b" * 32, b"c" * 32]
    low, middle, high = (sha256(b"\0" + each).digest() for each in sorted(hmac_by_hand(SALT, ref) for ref in refs))
    expected = sha256(b"\1" + sha256(b"\1" + low + middle).digest() + high).digest()

    roots = {commitments.forget_root(SALT, order) for order in permutations([*refs, refs[0]])}

    assert roots == {expected}


@given(refs=references)
def test_every_reference_can_be_shown_in_the_forget_root(refs):
    root = commitments.forget_root(SALT, refs)

    for ref in refs:
        index, size, path = commitments.forget_proof(SALT, refs, ref)
        leaf = merkle.leaf_hash(commitments.commitment(SALT, ref))
        assert merkle.verify_inclusion(index, size, path, leaf=leaf, root=root)


def test_two_requests_of_one_person_share_nothing():
    salts = {commitments.new_salt() for _ in range(50)}

    roots = {commitments.forget_root(salt, [b"r" * 32]) for salt in salts}

    assert len(roots) == 50
