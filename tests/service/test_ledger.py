"""The ledger on a real server: the judge is the tree built in memory over the envelopes as they lie in the table."""

from concurrent.futures import ThreadPoolExecutor
from uuid import uuid4

import pytest
from sqlalchemy import select
from sqlalchemy.exc import IntegrityError, OperationalError
from sqlalchemy.orm import Session

from service.db import ledger
from service.db.session import transaction
from service.db.tables.ledger import (
    LedgerCheckpoint,
)
from service.domain import merkle
from service.errors import AlreadyExists, BadInput, NotFound
from service.ledger import keys, proofs
from service.ledger.append import issue
from service.ledger.sequencer import drain, sequence
from tests.service.ledger_fixture import (
    ORIGIN,
    add_request,
    assert_whole,
    issue_one,
    kill,
    leaves_of,
    sealed,
    sequence_all,
    waiting,
)
from tests.service.logs import enqueue


@pytest.fixture
def deployment(keys_dir):
    return keys.load(keys_dir)


def test_a_certificate_becomes_an_entry_with_its_exact_bytes(engine, deployment):
    certificate_id, request_id, envelope = issue_one(engine, deployment)

    assert sequence_all(engine, deployment) == 1

    leaf = leaves_of(engine)[0]
    with transaction(engine) as tx:
        stored = ledger.certificate_of(tx, request_id)
        assert stored.id == leaf.entry_id == certificate_id
        assert bytes(stored.envelope) == bytes(leaf.envelope) == envelope
        assert waiting(tx) == 0
    assert_whole(engine, deployment)


def test_an_empty_inbox_signs_nothing(engine, deployment):
    assert sequence_all(engine, deployment) == 0

    with transaction(engine) as tx:
        assert ledger.latest_checkpoint(tx) is None


def test_a_batch_takes_no_more_than_its_limit_and_every_batch_is_signed(engine, deployment):
    for _ in range(7):
        issue_one(engine, deployment)

    with transaction(engine) as tx:
        assert sequence(tx, deployment, ORIGIN, limit=3) == 3
    assert sequence_all(engine, deployment, limit=3) == 4

    with transaction(engine) as tx:
        assert list(tx.scalars(select(LedgerCheckpoint.size).order_by(LedgerCheckpoint.size))) == [3, 6, 7]
    assert_whole(engine, deployment)


def test_a_request_has_one_certificate_for_ever(engine, deployment):
    _, request_id, envelope = issue_one(engine, deployment)

    with pytest.raises(AlreadyExists), transaction(engine) as tx:
        issue(tx, request_id=request_id, certificate_id=uuid4(), envelope=envelope)

    assert sequence_all(engine, deployment) == 1


def test_a_certificate_of_no_request_is_refused(engine, deployment):
    certificate_id = uuid4()

    with pytest.raises(IntegrityError), transaction(engine) as tx:
        issue(tx, request_id=uuid4(), certificate_id=certificate_id, envelope=b"{}")

    with transaction(engine) as tx:
        assert waiting(tx) == 0


def test_a_request_without_certificate_is_not_found(engine):
    with pytest.raises(NotFound), transaction(engine) as tx:
        ledger.certificate_of(tx, uuid4())


def test_a_second_sequencer_steps_back(engine, deployment):
    issue_one(engine, deployment)

    with transaction(engine) as first:
        assert sequence(first, deployment, ORIGIN) == 1
        with transaction(engine) as second:
            assert sequence(second, deployment, ORIGIN) == 0

    assert_whole(engine, deployment)


def test_eight_issuers_and_two_sequencers_leave_no_gap_no_fork_and_no_loss(engine, deployment):
    def issue_twelve(_):
        for _ in range(12):
            issue_one(engine, deployment)

    def keep_sequencing(_):
        done = 0
        while done == 0 or any(not each.done() for each in issuers):
            with transaction(engine) as tx:
                done += sequence(tx, deployment, ORIGIN, limit=5)

    with ThreadPoolExecutor(10) as pool:
        issuers = [pool.submit(issue_twelve, number) for number in range(8)]
        sequencers = [pool.submit(keep_sequencing, number) for number in range(2)]
        for each in [*issuers, *sequencers]:
            each.result(60)
    sequence_all(engine, deployment)

    assert len(leaves_of(engine)) == 96
    assert_whole(engine, deployment)


def test_a_sequencer_killed_before_its_commit_has_done_nothing(engine, deployment):
    for _ in range(3):
        issue_one(engine, deployment)
    sequence_all(engine, deployment)
    issue_one(engine, deployment)
    before = len(leaves_of(engine))

    with Session(engine) as dying:
        assert sequence(dying, deployment, ORIGIN) == 1
        kill(engine, dying)
        with pytest.raises(OperationalError):
            dying.commit()

    assert len(leaves_of(engine)) == before
    assert_whole(engine, deployment)
    assert sequence_all(engine, deployment) == 1
    assert_whole(engine, deployment)


def test_an_issuer_killed_before_its_commit_leaves_neither_certificate_nor_entry(engine, deployment):
    with Session(engine) as dying:
        request_id = add_request(dying)
        envelope = sealed(deployment, uuid4(), request_id)
        issue(dying, request_id=request_id, certificate_id=uuid4(), envelope=envelope)
        kill(engine, dying)
        with pytest.raises(OperationalError):
            dying.commit()

    assert sequence_all(engine, deployment) == 0
    assert_whole(engine, deployment)


# ---- proofs ---------------------------------------------------------------------------------------------------------


def test_stored_nodes_prove_every_entry_and_every_pair_of_sizes(engine, deployment):
    for _ in range(13):
        issue_one(engine, deployment)
    sequence_all(engine, deployment, limit=4)
    hashes = [leaf.leaf_hash for leaf in leaves_of(engine)]
    roots = [merkle.root(hashes[:size]) for size in range(14)]

    with transaction(engine) as tx:
        for size in range(1, 14):
            for index in range(size):
                path = proofs.inclusion(tx, index, size)
                assert merkle.verify_inclusion(index, size, path, leaf=hashes[index], root=roots[size])
            for first in range(size + 1):
                path = proofs.consistency(tx, first, size)
                assert merkle.verify_consistency(first, size, path, first_root=roots[first], second_root=roots[size])


@pytest.mark.parametrize(("index", "size"), [(0, 0), (2, 2), (-1, 2), (0, 3), (1, 2**70)])
def test_a_proof_beyond_the_signed_tree_is_bad_input(engine, deployment, index, size):
    for _ in range(2):
        issue_one(engine, deployment)
    sequence_all(engine, deployment)

    with pytest.raises(BadInput), transaction(engine) as tx:
        proofs.inclusion(tx, index, size)
    with pytest.raises(BadInput), transaction(engine) as tx:
        proofs.consistency(tx, 2, max(3, size) if size > 2 else 1)


def test_a_receipt_exists_once_sequenced_and_never_changes(engine, deployment):
    certificate_id, _, _ = issue_one(engine, deployment)
    with transaction(engine) as tx:
        assert proofs.receipt(tx, certificate_id) is None

    sequence_all(engine, deployment)
    with transaction(engine) as tx:
        early = proofs.receipt(tx, certificate_id)
    issue_one(engine, deployment)
    sequence_all(engine, deployment)

    with transaction(engine) as tx:
        assert early is not None
        assert proofs.receipt(tx, certificate_id) == early


# ---- the inbox ------------------------------------------------------------------------------------------------------


def test_an_entry_that_a_tile_could_not_hold_is_refused_before_it_waits(engine):
    enqueue(engine, [b"x" * 65_535])

    with pytest.raises(BadInput, match="65535 bytes; this one has 65536"):
        enqueue(engine, [b"x" * 65_536])

    with transaction(engine) as tx:
        assert waiting(tx) == 1


def test_draining_goes_on_until_less_than_a_batch_waits(engine, deployment):
    enqueue(engine, [b"%d" % number for number in range(11)])

    assert drain(engine, deployment, ORIGIN, 4) == 11
    assert drain(engine, deployment, ORIGIN, 4) == 0

    with transaction(engine) as tx:
        assert list(tx.scalars(select(LedgerCheckpoint.size).order_by(LedgerCheckpoint.size))) == [4, 8, 11]


def test_draining_leaves_the_rest_to_the_next_turn(engine, deployment):
    enqueue(engine, [b"%d" % number for number in range(11)])

    assert drain(engine, deployment, ORIGIN, 4, batches=2) == 8
    assert drain(engine, deployment, ORIGIN, 4, batches=2) == 3


def test_an_entry_that_was_committed_late_is_taken_though_later_ones_were_first(engine, deployment):
    with transaction(engine) as late:
        ledger.enqueue(late, uuid4(), b"late", kind="attempt", requests=[])     # its place in the inbox is the first
        enqueue(engine, [b"early", b"too"])
        assert drain(engine, deployment, ORIGIN) == 2

    assert drain(engine, deployment, ORIGIN) == 1
    assert [leaf.envelope for leaf in leaves_of(engine)] == [b"early", b"too", b"late"]


def test_entries_of_every_kind_keep_kind_and_id(engine, deployment):
    ids = {kind: uuid4() for kind in ("attempt", "erasure", "salt")}
    with transaction(engine) as tx:
        for kind, entry_id in ids.items():
            ledger.enqueue(tx, entry_id, kind.encode(), kind=kind, requests=[])

    drain(engine, deployment, ORIGIN)

    assert {leaf.kind: (leaf.entry_id, leaf.envelope) for leaf in leaves_of(engine)} == {
        kind: (entry_id, kind.encode()) for kind, entry_id in ids.items()
    }
