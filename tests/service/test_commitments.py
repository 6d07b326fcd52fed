"""Commitments: the judge is HMAC as RFC 2104 defines it, and a tree built by hand."""

from hashlib import sha256
from itertools import permutations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.domain import commitments, merkle

KEY, SALT = b"k" * 32, b"s" * 32
references = st.sets(st.binary(min_size=32, max_size=32), min_size=1, max_size=20)


def hmac_by_hand(key, message):
    block = key.ljust(64, b"\0")
    inner = sha256(bytes(b ^ 0x36 for b in block) + message).digest()
    return sha256(bytes(b ^ 0x5C for b in block) + inner).digest()


def test_a_reference_binds_an_identifier_to_a_secret_that_only_the_key_gives():
    named = b"sample\0" + "rivière-7".encode()
    secret = hmac_by_hand(KEY, named)

    assert commitments.secret(KEY, "sample", "rivière-7") == secret
    assert commitments.reference(KEY, "sample", "rivière-7") == sha256(secret + named).digest()
    assert commitments.reference_of(secret, "sample", "rivière-8") != sha256(secret + named).digest()


def test_a_sample_and_a_person_of_one_name_have_different_references():
    assert commitments.reference(KEY, "sample", "7") != commitments.reference(KEY, "subject", "7")


def committed(ref, salt=SALT):
    return sha256(hmac_by_hand(salt, ref) + ref).digest()


def test_a_commitment_binds_a_reference_to_an_opening_that_only_the_salt_gives():
    ref = b"r" * 32

    assert commitments.opening(SALT, ref) == hmac_by_hand(SALT, ref)
    assert commitments.commitment(SALT, ref) == committed(ref)
    assert commitments.commitment_of(hmac_by_hand(SALT, ref), b"q" * 32) != committed(ref)


def test_the_forget_root_is_the_tree_over_the_sorted_commitments():
    several = [committed(each * 32) for each in (b"a", b"b", b"c")]
    low, middle, high = (sha256(b"\0" + each).digest() for each in sorted(several))
    expected = sha256(b"\1" + sha256(b"\1" + low + middle).digest() + high).digest()

    roots = {commitments.root(order) for order in permutations([*several, several[0]])}

    assert roots == {expected}


@given(several=references)
def test_every_commitment_can_be_shown_in_the_forget_root(several):
    root = commitments.root(several)

    for each in several:
        index, size, path = commitments.proof(several, each)
        assert merkle.verify_inclusion(index, size, path, leaf=merkle.leaf_hash(each), root=root)


def test_a_commitment_of_another_set_cannot_be_shown():
    with pytest.raises(ValueError):
        commitments.proof([b"a" * 32], b"b" * 32)


def test_two_requests_of_one_person_share_nothing():
    salts = {commitments.new_salt() for _ in range(50)}

    roots = {commitments.root([commitments.commitment(salt, b"r" * 32)]) for salt in salts}

    assert len(roots) == 50
