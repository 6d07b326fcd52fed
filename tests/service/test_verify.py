"""The offline verifier. Every bundle here is first shown to be valid, then spoiled in one way."""

import json
from base64 import b64encode
from dataclasses import replace
from hashlib import sha256

import pytest

from service.domain import certificates
from service.ledger import bundle, checkpoints, keys, verify
from service.ledger.envelopes import seal
from tests.service.ledger_fixture import (
    CERTIFICATE,
    INDEX,
    ORIGIN,
    PDF,
    RECIPE_REPORT,
    REPORT,
    REQUEST,
    SIZE,
    changed,
    predicate,
    statement,
    subjects,
)

# ---- what is valid --------------------------------------------------------------------------------------------------


def test_a_bundle_passes_every_step_in_order(tmp_path, log):
    path = tmp_path / "bundle.zip"
    path.write_bytes(log.bundle())

    steps = verify.verify(path, log.keys.trust, checkpoint=log.checkpoint())

    assert [(step.number, step.ok) for step in steps] == [(number, True) for number in (*range(8), 9)]
    assert steps[2].detail == f"certificate {CERTIFICATE}: EQUIVALENT_WITHIN_MARGIN"
    assert log.leaves[INDEX].hex() in steps[3].detail


def test_a_bundle_needs_no_report_but_the_audits_json(check, log):
    assert check(log.bundle(pdf=None, later=())) == (None, "report.json and recipe-report.json")
    assert check(log.bundle(pdf=None, recipe=None, later=())) == (None, "report.json")


def test_a_certificate_from_before_there_were_audits_of_recipes_is_valid(check, log):
    def age(read):
        del read["predicate"]["evidence"]["recipe_audit"]
        read["subject"] = [each for each in read["subject"] if each["name"] != "recipe-report.json"]

    old = replace(log, envelope=seal(statement(age), log.keys.certificate))

    assert check(old.bundle(recipe=None, later=())) == (None, "report.json and report.pdf")


def test_a_signature_of_a_stranger_beside_ours_is_ignored(check, log, tmp_path):
    stranger = keys.new(tmp_path / "stranger", "witness.test").log
    note = log.checkpoint()
    text = note.rpartition("\n\n")[0] + "\n"
    blob = b64encode(stranger.vkey.id + stranger.sign(text.encode())).decode()
    cosigned = f"{note}— {stranger.vkey.name} {blob}\n"
    proof = log.proof().replace(note, cosigned)

    assert check(changed(log.bundle(), proof=proof.encode(), checkpoint=cosigned.encode()))[0] is None


def test_old_keys_may_be_trusted_beside_new_ones(check, log, tmp_path):
    older = keys.new(tmp_path / "older", ORIGIN)

    assert check(log.bundle(), trust=f"# 2024\n{older.trust}\n# 2025\n{log.keys.trust}")[0] is None


@pytest.mark.parametrize("limit", [0, 1, INDEX, SIZE, 20])
def test_an_earlier_or_later_checkpoint_of_the_same_ledger_is_consistent(check, log, limit):
    first, second = sorted((limit, SIZE))
    path = log.consistency(first, second)
    answer = json.dumps({"hashes": path.split()})

    assert check(log.bundle(), checkpoint=log.checkpoint(limit), consistency=path)[0] is None
    assert check(log.bundle(), checkpoint=log.checkpoint(limit), consistency=answer)[0] is None


def test_the_model_that_was_handed_over_is_recognised(check, log, tmp_path):
    weights = tmp_path / "model.safetensors"
    weights.write_bytes(b"weights")
    digest = sha256(b"weights").hexdigest()

    def name_the_weights(read):
        next(each for each in read["subject"] if each["name"] == "model-after")["digest"]["sha256"] = digest

    signed = replace(log, envelope=seal(statement(name_the_weights), log.keys.certificate))

    assert check(signed.bundle(later=()), weights=weights) == (None, digest)


# ---- every step fails for its own reason ----------------------------------------------------------------------------


def test_step_1_keys_of_somebody_else(check, log, tmp_path):
    stranger = keys.new(tmp_path / "stranger", ORIGIN)

    assert check(log.bundle(), trust=stranger.trust)[0] == 1


def test_step_1_a_payload_that_was_not_signed(check, log):
    envelope = json.loads(log.envelope)
    envelope["payload"] = b64encode(statement().replace(b"EQUIVALENT_WITHIN_MARGIN", b"LEAK_DETECTED")).decode()
    forged = replace(log, envelope=json.dumps(envelope).encode())

    assert check(forged.bundle())[0] == 1


def test_step_1_a_key_id_that_nobody_trusts(check, log):
    envelope = json.loads(log.envelope)
    keyid = log.keys.certificate.vkey.name + "+00000000"
    unknown = envelope | {"signatures": [envelope["signatures"][0] | {"keyid": keyid}]}

    assert check(changed(log.bundle(), envelope=json.dumps(unknown).encode())) == (
        1, "no trusted certificate key signed the envelope"
    )


def test_step_1_a_checkpoint_key_does_not_sign_certificates(check, log):
    forged = replace(log, envelope=seal(statement(), log.keys.log))

    assert check(forged.bundle())[0] == 1


def test_step_1_a_payload_type_that_was_not_signed(check, log):
    envelope = json.loads(log.envelope) | {"payloadType": "text/plain"}
    forged = replace(log, envelope=json.dumps(envelope).encode())

    assert check(forged.bundle())[0] == 1


def test_step_5_keys_json_that_offers_another_key(check, log, tmp_path):
    stranger = keys.new(tmp_path / "stranger", ORIGIN)
    offered = json.dumps({"keys": [{"vkey": str(stranger.log.vkey), "signs": "checkpoints"}]}).encode()

    assert check(changed(log.bundle(), keys=offered)) == (
        5, "keys.json offers a key that you do not trust, or that did not sign"
    )


def test_a_checkpoint_that_two_keys_signed_is_enough_for_who_knows_the_older_one(check, log, tmp_path):
    newer = keys.new(tmp_path / "newer", ORIGIN).log
    older, both = log.keys.trust, log.keys.trust + f"{newer.vkey}\n"
    note = checkpoints.cosign(log.checkpoint(), newer.vkey, sign=newer.sign)

    made = bundle.make(
        envelope=log.envelope, tlog_proof=log.proof().replace(log.checkpoint(), note), checkpoint=note,
        report_json=REPORT, report_pdf=PDF, recipe_report=RECIPE_REPORT, trust=both,
    )  # fmt: skip

    assert check(made, trust=older)[0] is None
    assert check(made, trust=both)[0] is None


def test_step_3_a_proof_of_another_envelope(check, log):
    other = replace(log, envelope=seal(statement(), log.keys.certificate).replace(b",", b", ", 1))

    assert check(changed(log.bundle(), proof=other.proof().encode()))[0] == 3


def test_step_4_a_path_that_leads_elsewhere(check, log):
    lines = log.proof().splitlines(keepends=True)
    lines[3], lines[4] = lines[4], lines[3]

    assert check(changed(log.bundle(), proof="".join(lines).encode()))[0] == 4


@pytest.mark.parametrize("index", [0, INDEX - 1, INDEX + 1, SIZE, 2**60])
def test_step_4_another_index(check, log, index):
    proof = log.proof().replace(f"index {INDEX}\n", f"index {index}\n")

    assert check(changed(log.bundle(), proof=proof.encode()))[0] == 4


def test_step_4_a_proof_for_another_size(check, log):
    longer = log.proof(20).replace(log.checkpoint(20), log.checkpoint())

    assert check(changed(log.bundle(), proof=longer.encode()))[0] == 4


def test_step_5_a_checkpoint_of_another_ledger(check, log, tmp_path):
    other = replace(log, keys=keys.new(tmp_path / "other", "ledger.test/two"))

    assert check(changed(log.bundle(), proof=other.proof().encode(), checkpoint=other.checkpoint().encode())) == (
        5, "no trusted ledger key signed the checkpoint"
    )


def test_step_5_a_root_that_the_ledger_did_not_sign(check, log, tmp_path):
    stranger = keys.new(tmp_path / "stranger", ORIGIN)
    forged = replace(log, keys=replace(log.keys, log=stranger.log))
    spoiled = changed(log.bundle(), proof=forged.proof().encode(), checkpoint=forged.checkpoint().encode())

    assert check(spoiled)[0] == 5


def test_step_5_a_certificate_key_does_not_sign_checkpoints(check, log):
    forged = replace(log, keys=replace(log.keys, log=log.keys.certificate))
    spoiled = changed(log.bundle(), proof=forged.proof().encode(), checkpoint=forged.checkpoint().encode())

    assert check(spoiled)[0] == 5


def test_step_5_a_checkpoint_that_is_not_the_one_of_the_proof(check, log):
    assert check(changed(log.bundle(), checkpoint=log.checkpoint(20).encode()))[0] == 5


def test_step_6_a_ledger_that_rewrote_its_history(check, log):
    other = replace(log, envelope=log.envelope + b" ")
    path = log.consistency(7, SIZE)

    number, detail = check(log.bundle(), checkpoint=other.checkpoint(7), consistency=path)

    assert number == 6
    assert "rewritten" in detail


@pytest.mark.parametrize("path", ["nonsense", "{", "{}", '{"hashes": [1]}', '{"hashes": ["?"]}', "[]"])
def test_step_6_a_consistency_proof_that_is_none(check, log, path):
    assert check(log.bundle(), checkpoint=log.checkpoint(7), consistency=path)[0] == 6


def test_step_6_two_trees_of_one_size(check, log):
    other = replace(log, envelope=log.envelope + b" ")

    assert check(log.bundle(), checkpoint=other.checkpoint())[0] == 6


def test_step_6_says_which_proof_it_needs(check, log):
    number, detail = check(log.bundle(), checkpoint=log.checkpoint(7))

    assert number == 6
    assert f"from=7&to={SIZE}" in detail


def test_step_6_a_checkpoint_that_nobody_signed(check, log, tmp_path):
    stranger = keys.new(tmp_path / "stranger", ORIGIN)
    forged = replace(log, keys=stranger)

    assert check(log.bundle(), checkpoint=forged.checkpoint())[0] == 6
    assert check(log.bundle(), checkpoint="nonsense")[0] == 6
    assert check(log.bundle(), checkpoint="")[0] == 6


def test_step_6_a_checkpoint_of_another_ledger_that_is_trusted_too(check, log, tmp_path):
    other = replace(log, keys=keys.new(tmp_path / "other", "ledger.test/two"))

    number, _ = check(log.bundle(), trust=log.keys.trust + other.keys.trust, checkpoint=other.checkpoint())

    assert number == 6


def test_step_7_another_report(check, log):
    assert check(log.bundle(report=REPORT + b" "))[0] == 7
    assert check(log.bundle(pdf=PDF + b" "))[0] == 7
    assert check(log.bundle(recipe=RECIPE_REPORT + b" "))[0] == 7


def test_step_7_a_pdf_that_nobody_signed(check, log):
    plain = certificates.statement(subjects(), predicate(CERTIFICATE, REQUEST))
    signed = replace(log, envelope=seal(plain, log.keys.certificate))

    assert check(signed.bundle()) == (7, "report.pdf is not the file that was signed")


def test_step_7_evidence_of_another_report(check, log):
    def spoil(read):
        read["predicate"]["evidence"]["report_sha256"] = "00" * 32

    signed = replace(log, envelope=seal(statement(spoil), log.keys.certificate))

    assert check(signed.bundle()) == (7, "the evidence names another report")


def test_step_7_evidence_of_another_report_on_the_recipe(check, log):
    def spoil(read):
        read["predicate"]["evidence"]["recipe_audit"]["report_sha256"] = "00" * 32

    signed = replace(log, envelope=seal(statement(spoil), log.keys.certificate))

    assert check(signed.bundle(recipe=None)) == (7, "the evidence names another report on the recipe")


def test_step_8_other_weights(check, log, tmp_path):
    weights = tmp_path / "model.safetensors"
    weights.write_bytes(b"weights")

    assert check(log.bundle(), weights=weights)[0] == 8
    assert check(log.bundle(), weights=tmp_path / "missing")[0] == 8
    assert check(log.bundle(), weights=tmp_path)[0] == 8
