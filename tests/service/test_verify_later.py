"""Step 9 of the verifier: what else the ledger says of the request, and whether the certificate still counts."""

import json
from base64 import b64decode, b64encode
from dataclasses import replace
from uuid import UUID

import pytest

from service.domain import entries
from service.ledger import bundle, checkpoints, keys
from service.ledger.case import MEMBERS
from service.ledger.envelopes import seal
from service.ledger.untrusted import unpack
from tests.service.ledger_fixture import (
    AT,
    CERTIFICATE,
    ERASED,
    FORGOTTEN,
    LEAKED,
    ORIGIN,
    REPORT,
    REQUEST,
    changed,
    sealed_entry,
    statement,
)

ELSEWHERE = UUID(int=77)
REVOKED = entries.Corrected(
    request_id=REQUEST, action="revokes", certificate_id=CERTIFICATE, leaf_hash="00" * 32, reason="issued-by-mistake",
    at=AT,
)  # fmt: skip
EARLIER = REVOKED.model_copy(update={"certificate_id": ELSEWHERE, "action": "supersedes", "by": CERTIFICATE})


def with_entries(log, *told, first=7):
    """The same ledger in which these entries follow each other."""
    sealed = [each if isinstance(each, bytes) else sealed_entry(log.keys, each) for each in told]
    return replace(log, others=dict(enumerate(sealed, first)))


def test_a_bundle_tells_what_else_was_logged(check, log):
    assert check(log.bundle()) == (
        None, "attempt: leaked, entry 2; erased: 1 object, 3 rows, 2 kept, entry 7; salt forgotten, entry 9"
    )


def test_a_failure_and_a_correction_of_an_earlier_certificate_are_told(check, log):
    failed = entries.Failed(request_ids=(REQUEST,), job_id=UUID(int=3), runs=1, reason="A worker was lost.", at=AT)

    assert check(with_entries(log, failed, EARLIER).bundle()) == (
        None, "failure, entry 7; another certificate was corrected, entry 8"
    )


def test_an_earlier_certificate_of_the_request_is_told(check, log):
    def age(read):
        read["predicate"]["request"]["certificate_id"] = str(ELSEWHERE)

    earlier = seal(statement(age), log.keys.certificate)

    assert check(with_entries(log, earlier, first=1).bundle()) == (None, "another certificate, entry 1")


def test_bundles_of_different_times_differ_in_later_json_alone(log):
    newer = log.keys.log.vkey._replace(public=b"n" * 32)
    rotated = retired(log, certificate=8, tree=40) + f"# 2026\n{newer}\n"
    first = {"envelope": log.envelope, "tlog_proof": log.proof(), "checkpoint": log.checkpoint(), "report_json": REPORT}

    young = unpack(bundle.make(**first, trust=log.keys.trust), MEMBERS)
    old = unpack(bundle.make(**first, trust=rotated, later=[(log.others[7], log.proof(20, 7))]), MEMBERS)

    assert old.pop("later.json")
    assert young == old


# ---- a certificate that no longer counts ----------------------------------------------------------------------------


def test_step_9_a_certificate_that_was_revoked(check, log):
    assert check(with_entries(log, LEAKED, REVOKED).bundle()) == (
        9, "the certificate was revoked (issued-by-mistake): entry 8"
    )


def test_step_9_a_certificate_that_another_one_superseded(check, log):
    superseded = REVOKED.model_copy(update={"action": "supersedes", "by": ELSEWHERE, "reason": "audited-again"})

    def supersede(read):
        read["predicate"]["supersedes"] = str(CERTIFICATE)
        read["predicate"]["request"]["certificate_id"] = str(ELSEWHERE)

    later = seal(statement(supersede), log.keys.certificate)

    assert check(with_entries(log, superseded).bundle()) == (
        9, "the certificate was superseded (audited-again): entry 7"
    )
    assert check(with_entries(log, later).bundle()) == (
        9, "the certificate was superseded by another one: entry 7"
    )


def test_step_9_a_correction_that_names_the_entry_alone(check, log):
    ours = log.leaves[4].hex()
    revoked = REVOKED.model_copy(update={"certificate_id": ELSEWHERE, "leaf_hash": ours})

    assert check(with_entries(log, revoked).bundle())[0] == 9


# ---- entries that do not belong here --------------------------------------------------------------------------------


def of_another_request(entry):
    one, many = {"request_id": ELSEWHERE}, {"request_ids": (ELSEWHERE,)}
    return entry.model_copy(update=one if "request_id" in type(entry).model_fields else many)


@pytest.mark.parametrize("entry", [LEAKED, ERASED, REVOKED, FORGOTTEN], ids=lambda each: each.kind)
def test_step_9_an_entry_about_another_request(check, log, entry):
    assert check(with_entries(log, of_another_request(entry)).bundle()) == (
        9, "entry 1 of later.json: it speaks of another request"
    )


def test_step_9_an_entry_of_a_kind_that_speaks_of_no_request(check, log):
    key = entries.KeyChanged(action="rotated", use="checkpoints", vkey="v", at=AT)

    assert check(with_entries(log, key).bundle())[0] == 9


def test_step_9_the_certificate_itself(check, log):
    assert check(log.bundle(later=[(log.envelope, log.proof())])) == (
        9, "entry 1 of later.json: it is the certificate itself"
    )


def test_step_9_entries_twice_or_in_another_order(check, log):
    told = [(log.others[index], log.proof(index=index)) for index in (2, 7)]

    assert check(log.bundle(later=told))[0] is None
    assert check(log.bundle(later=told[::-1]))[0] == 9
    assert check(log.bundle(later=[told[0], told[0]]))[0] == 9


def test_step_9_an_entry_that_a_stranger_signed(check, log, tmp_path):
    stranger = keys.new(tmp_path / "stranger", ORIGIN)

    number, detail = check(with_entries(log, sealed_entry(stranger, ERASED)).bundle())

    assert (number, detail) == (9, "entry 1 of later.json: no trusted certificate key signed the envelope")


def test_step_9_an_entry_that_the_ledger_does_not_have(check, log):
    forged = sealed_entry(log.keys, ERASED.model_copy(update={"rows": 4}))

    assert check(log.bundle(later=[(forged, log.proof(index=7))])) == (
        9, "entry 1 of later.json: the proof is about another envelope"
    )
    proof = log.proof(index=7).replace(b64encode(log.leaves[7]).decode(), b64encode(replace(
        log, others={7: forged}).leaves[7]).decode())
    assert check(log.bundle(later=[(forged, proof)]))[0] == 9


def test_step_9_a_checkpoint_that_nobody_signed(check, log, tmp_path):
    stranger = replace(log, keys=keys.new(tmp_path / "stranger", ORIGIN))

    number, detail = check(log.bundle(later=[(log.others[7], stranger.proof(index=7))]))

    assert (number, detail) == (9, "entry 1 of later.json: no trusted ledger key signed the checkpoint")


def test_step_9_a_ledger_that_shows_another_tree_of_the_same_size(check, log):
    forked = replace(log, others=log.others | {1: b"what only some are shown"})

    number, detail = check(log.bundle(later=[(log.others[7], forked.proof(index=7))]))

    assert (number, detail) == (9, "the ledger has two trees of one size: keep the bundle, it proves it")


def test_step_9_an_entry_of_another_ledger_that_is_trusted_too(check, log, tmp_path):
    other = replace(log, keys=keys.new(tmp_path / "other", "ledger.test/two"))
    trust = log.keys.trust + other.keys.trust

    assert check(log.bundle(later=[(log.others[7], other.proof(index=7))]), trust=trust) == (
        9, "the entries are of several ledgers"
    )


@pytest.mark.parametrize("field", ["envelope", "proof"])
@pytest.mark.parametrize("other", [None, 1, "", [], "nonsense", "=" * 10])
def test_step_9_a_field_of_an_entry_that_is_something_else(check, log, field, other):
    told = json.loads(unpack(log.bundle(), MEMBERS)["later.json"])
    told["entries"][1][field] = other

    assert check(changed(log.bundle(), later=json.dumps(told).encode()))[0] == 9


# ---- keys that were retired -----------------------------------------------------------------------------------------


def retired(log, *, certificate=None, tree=None):
    """The key file in which one of the two keys ends."""
    ours = ((log.keys.certificate.vkey, certificate), (log.keys.log.vkey, tree))
    return checkpoints.write_keys([key._replace(until=until) for key, until in ours])


def test_step_4_a_key_that_was_retired_before_the_certificate(check, log):
    assert check(log.bundle(later=()), trust=retired(log, certificate=4)) == (
        4, "the key that signed was retired before entry 4"
    )
    assert check(log.bundle(later=()), trust=retired(log, certificate=5))[0] is None


def test_step_5_a_key_that_was_retired_before_the_tree_had_this_size(check, log):
    assert check(log.bundle(later=()), trust=retired(log, tree=10)) == (
        5, "the key that signed was retired before the ledger had 11 entries"
    )
    assert check(log.bundle(later=()), trust=retired(log, tree=11))[0] is None


def test_step_6_a_checkpoint_that_a_retired_key_signed(check, log):
    trust = retired(log, tree=11)

    assert check(log.bundle(), trust=trust, checkpoint=log.checkpoint(20), consistency=log.consistency(11, 20))[0] == 6
    assert check(log.bundle(), trust=trust, checkpoint=log.checkpoint(7), consistency=log.consistency(7, 11))[0] is None


def test_step_9_an_entry_that_a_retired_key_signed(check, log):
    assert check(log.bundle(), trust=retired(log, certificate=8)) == (
        9, "entry 3 of later.json: the key that signed was retired before entry 9"
    )


def test_a_signature_of_another_key_in_force_makes_up_for_a_retired_one(check, log, tmp_path):
    newer = keys.new(tmp_path / "newer", ORIGIN)
    envelope = json.loads(log.envelope)
    second = json.loads(seal(b64decode(envelope["payload"]), newer.certificate))["signatures"]
    both = replace(log, envelope=json.dumps(envelope | {"signatures": envelope["signatures"] + second}).encode())
    trust = retired(log, certificate=4)

    assert check(both.bundle(later=()), trust=trust)[0] == 4
    assert check(both.bundle(later=()), trust=trust + str(newer.certificate.vkey) + "\n")[0] is None
