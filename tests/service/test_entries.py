"""Entries besides certificates: sealed like one, bounded, and about nobody."""

import json
from datetime import UTC, datetime
from uuid import UUID, uuid4

import pytest
import rfc8785
from pydantic import ValidationError
from securesystemslib.dsse import Envelope

from service.db import ledger
from service.db.ledger import ENVELOPE_LIMIT
from service.db.session import transaction
from service.domain import entries
from service.domain.certificates import Attempt
from service.domain.entries import ENTRIES, Attempted, Failed, SaltForgotten, correction_id
from service.ledger import append, keys
from service.ledger.envelopes import payload, seal
from tests.service.ledger_fixture import ORIGIN, add_request, leaves_of, sequence_all

NOW, ID, DIGEST = datetime(2025, 3, 1, 9, tzinfo=UTC), UUID(int=7), "ab" * 32
FAILED = Failed(request_ids=(ID,), job_id=ID, runs=3, reason="Its worker was lost", at=NOW)


@pytest.fixture
def deployment(tmp_path):
    return keys.new(tmp_path / "keys", ORIGIN)


def test_an_entry_is_an_in_toto_statement_in_canonical_bytes():
    said = entries.statement(FAILED, {"policy.json": DIGEST})

    read = json.loads(said)
    assert said == rfc8785.dumps(read)
    assert read.keys() == {"_type", "subject", "predicateType", "predicate"}
    assert read["_type"] == "https://in-toto.io/Statement/v1"
    assert read["predicateType"] == "https://expunge.example/unlearning-failure/v1"
    assert read["subject"] == [{"name": "policy.json", "digest": {"sha256": DIGEST}}]
    assert read["predicate"]["at"] == "2025-03-01T09:00:00Z"


def test_an_entry_without_a_subject_is_refused():
    with pytest.raises(ValueError, match="needs a subject"):
        entries.statement(FAILED, {})


def test_kinds_and_types_are_distinct():
    assert len({entry.kind for entry in ENTRIES}) == len({entry.type for entry in ENTRIES}) == len(ENTRIES)
    assert "certificate" not in {entry.kind for entry in ENTRIES}


@pytest.mark.parametrize("change", [
    {"request_ids": ()}, {"reason": ""}, {"reason": "x" * 501}, {"runs": -1}, {"at": "2025-03-01T09:00"}, {"who": "x"},
])
def test_values_that_an_entry_cannot_have_are_refused(change):
    with pytest.raises(ValidationError):
        Failed(**(FAILED.model_dump() | change))


def test_the_longest_attempt_fits_into_a_tile(deployment):
    recipe = {f"parameter_{n}": 0.123456789 for n in range(60)}
    attempt = Attempt(
        recipe=recipe, outcome="leak", verdict="LEAK_DETECTED", seconds=1 / 3, report_sha256=DIGEST,
        headline={f"{'measured' * 4}_{n}": 0.123456789 for n in range(40)},
    )
    ids = tuple(uuid4() for _ in range(append.PART))
    entry = Attempted(request_ids=ids, job_id=ID, run=1, rung=1, attempt=attempt, policy_sha256=DIGEST, at=NOW)

    sealed = seal(entries.statement(entry, {"model-before": DIGEST, "report.json": DIGEST}), deployment.certificate)

    assert len(sealed) <= ENVELOPE_LIMIT


def test_an_entry_is_sealed_logged_and_listed_with_its_requests(engine, deployment):
    with transaction(engine) as tx:
        one, two = add_request(tx), add_request(tx)
        entry = SaltForgotten(request_id=one, at=NOW)
        entry_id = append.record(tx, entry, deployment.certificate, subjects={"forget-root": DIGEST}, requests=[one])

    sequence_all(engine, deployment)

    (leaf,) = leaves_of(engine)
    read = Envelope.from_dict(json.loads(leaf.envelope))
    assert read.verify([deployment.certificate.signer.public_key], 1)
    assert json.loads(payload(leaf.envelope))["predicate"]["request_id"] == str(one)
    assert (leaf.entry_id, leaf.kind) == (entry_id, "salt")
    with transaction(engine) as tx:
        listed = [[each.idx for each in ledger.entries_of(tx, request)] for request in (one, two)]
    assert listed == [[0], []]


def test_a_correction_has_one_id_for_each_certificate_and_action():
    known = [correction_id(each, action) for each in (ID, UUID(int=8)) for action in ("revokes", "supersedes")]

    assert len(set(known)) == 4
    assert correction_id(ID, "revokes") == known[0]
