"""Receipts: one person can show that their sample was in a request, and nobody learns of another's."""

import json
import subprocess
import sys
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.domain import commitments
from service.ledger import bundle, keys, receipts
from service.ledger.envelopes import seal
from service.ledger.untrusted import RefusedError
from tests.service.ledger_fixture import (
    CERTIFICATE,
    REQUEST,
    add_forgotten,
    issue_of,
    sequence_all,
    statement,
)

INDEX_KEY, SALT = b"k" * 32, b"s" * 32


def commitment(sample):
    return commitments.commitment(SALT, commitments.reference(INDEX_KEY, "sample", sample))


def receipt_of(sample, samples):
    known = [commitment(each) for each in samples]
    return receipts.make(
        INDEX_KEY, SALT, known, sample=sample, root=commitments.root(known), request_id=str(REQUEST),
        certificate_id=str(CERTIFICATE),
    )  # fmt: skip


def certificate_of(samples):
    """The statement of a certificate about these samples."""
    read = json.loads(statement())
    read["predicate"]["request"] |= {
        "forget_root": commitments.root(map(commitment, samples)).hex(), "n_samples": len(set(samples))
    }
    return read


sets = st.lists(st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=9), min_size=1, unique=True)


@given(sets, st.data())
def test_every_sample_of_a_request_has_a_receipt_that_leads_into_its_certificate(samples, data):
    receipt = receipt_of(data.draw(st.sampled_from(samples)), samples)

    assert receipts.check(receipt, certificate_of(samples)) == f"the sample is one of the {len(samples)} of the request"


@given(sets, st.data())
def test_a_sample_outside_of_the_request_has_no_receipt(samples, data):
    outside = data.draw(st.text(min_size=1).filter(lambda name: name not in samples and name.isprintable()))

    with pytest.raises(ValueError, match="not in list"):
        receipt_of(outside, samples)
    with pytest.raises(RefusedError):
        receipts.check(receipt_of(outside, [*samples, outside]), certificate_of(samples))


@given(sets, st.sampled_from(["secret", "opening", "forget_root"]), st.integers(0, 255))
def test_a_bit_that_was_flipped_in_a_receipt_is_detected(samples, name, bit):
    receipt = receipt_of(samples[0], samples)
    spoiled = bytearray.fromhex(receipt[name])
    spoiled[bit // 8] ^= 1 << bit % 8

    with pytest.raises(RefusedError):
        receipts.check(receipt | {name: spoiled.hex()}, certificate_of(samples))


@given(sets, st.data())
def test_a_receipt_with_the_id_of_another_sample_is_refused(samples, data):
    receipt = receipt_of(samples[0], samples)
    other = data.draw(st.sampled_from([*samples[1:], samples[0] + "x", "sample"]).filter(lambda s: s != samples[0]))

    with pytest.raises(RefusedError):
        receipts.check(receipt | {"sample": other}, certificate_of(samples))


@pytest.mark.parametrize(
    "change",
    [
        {"index": 1}, {"size": 4}, {"size": 2}, {"path": []}, {"path": ["00" * 32] * 2},
        {"request_id": str(CERTIFICATE)}, {"certificate_id": str(REQUEST)}, {"schema": "receipt/v2"}, {"sample": ""},
        {"sample": None}, {"secret": None}, {"opening": "A" * 64}, {"opening": "00"}, {"index": -1}, {"index": True},
        {"path": [1, 2]}, {"path": "no list"}, {"size": 2**53}, {"forget_root": "00" * 32},
    ],
    ids=str,
)  # fmt: skip
def test_no_field_of_a_receipt_can_be_another(change):
    samples = ["a", "b", "c"]
    first = min(samples, key=commitment)
    receipt = receipt_of(first, samples)
    assert receipts.check(receipt, certificate_of(samples))

    with pytest.raises(RefusedError):
        receipts.check(receipt | change, certificate_of(samples))
    for name in change:
        with pytest.raises(RefusedError):
            receipts.check({other: value for other, value in receipt.items() if other != name}, certificate_of(samples))


def test_a_receipt_holds_nothing_that_belongs_to_another_sample():
    samples = ["a", "b", "c", "d"]
    told = json.dumps(receipt_of("a", samples))

    references = {name: commitments.reference(INDEX_KEY, "sample", name) for name in samples[1:]}

    assert SALT.hex() not in told
    assert INDEX_KEY.hex() not in told
    for name, ref in references.items():
        secrets = (commitments.secret(INDEX_KEY, "sample", name), ref, commitments.opening(SALT, ref))
        assert not [each for each in secrets if each.hex() in told]


def test_a_receipt_of_before_a_correction_still_fits_the_certificate_after_it():
    superseding = certificate_of(["a", "b"])
    superseding["predicate"]["supersedes"] = str(CERTIFICATE)
    superseding["predicate"]["request"]["certificate_id"] = str(REQUEST)

    assert receipts.check(receipt_of("a", ["a", "b"]), superseding)


# ---- as the last step of the verifier -------------------------------------------------------------------------------


@pytest.fixture
def signed(log):
    """The ledger whose certificate is about the samples a, b and c."""
    read = json.dumps(certificate_of(["a", "b", "c"]), sort_keys=True, separators=(",", ":")).encode()
    return replace(log, envelope=seal(read, log.keys.certificate))


def test_step_10_a_receipt_that_fits_its_bundle(check, signed):
    receipt = json.dumps(receipt_of("a", ["a", "b", "c"])).encode()

    assert check(signed.bundle(), receipt=receipt) == (None, "the sample is one of the 3 of the request")


@pytest.mark.parametrize("receipt", [b"", b"{}", b"[" * 10_000, b'{"sample":1,"sample":1}', b"\xff", b'{"size":1e999}'])
def test_step_10_nonsense_is_refused(check, signed, receipt):
    assert check(signed.bundle(), receipt=receipt)[0] == 10


def test_step_10_a_receipt_of_another_request(check, signed, log):
    assert check(log.bundle(), receipt=json.dumps(receipt_of("a", ["a", "b", "c"])).encode())[0] == 10


def test_a_stranger_checks_a_receipt_with_the_bundle_alone(signed, tmp_path):
    (tmp_path / "verify.pyz").write_bytes(bundle.verifier())
    (tmp_path / "bundle.zip").write_bytes(signed.bundle())
    (tmp_path / "expunge.pub").write_text(signed.keys.trust)
    (tmp_path / "good").write_text(json.dumps(receipt_of("a", ["a", "b", "c"])))
    (tmp_path / "bad").write_text(json.dumps(receipt_of("a", ["a", "b", "c"]) | {"sample": "person-7"}))
    command = [sys.executable, "-I", "verify.pyz", "bundle.zip", "--key", "expunge.pub", "--receipt"]

    good, bad = (
        subprocess.run([*command, name], cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False)
        for name in ("good", "bad")
    )

    assert (good.returncode, good.stdout.splitlines()[-1]) == (0, "VALID")
    assert (bad.returncode, bad.stderr) == (20, "")
    assert "FAIL 10 receipt: the receipt does not lead to the certificate's forget root" in bad.stdout
    assert "person-7" not in bad.stdout


# ---- over HTTP ------------------------------------------------------------------------------------------------------


@pytest.fixture
def deployment(keys_dir):
    return keys.load(keys_dir)


@pytest.fixture
def forgotten(engine, deployment):
    """A certified request for three samples whose index rows are gone."""
    request_id = add_forgotten(engine, deployment.index_key, ["row-1", "row-2", "row-3"])
    issue_of(engine, deployment, request_id)
    sequence_all(engine, deployment)
    return request_id


def ask(api, request_id, **query):
    return api.get(f"/deletion-requests/{request_id}/receipt", params=query)


def test_the_service_gives_a_receipt_that_the_certificate_bears_out(api, forgotten):
    answer = ask(api, forgotten, sample="row-2")
    envelope = api.get(f"/deletion-requests/{forgotten}/certificate").content

    assert answer.status_code == 200
    assert answer.headers["Cache-Control"] == "no-store"
    assert answer.json()["size"] == 3
    assert receipts.check(answer.json(), json.loads(bundle.payload(envelope)))


def test_a_receipt_for_a_sample_that_was_not_asked_for_is_refused_and_the_id_is_not_repeated(api, forgotten, capfd):
    answer = ask(api, forgotten, sample="person-8222157")

    assert (answer.status_code, answer.json()["type"]) == (404, "/docs/problems#not-found")
    assert "person-8222157" not in answer.text + "".join(capfd.readouterr())


@pytest.mark.parametrize("query", [{}, {"sample": ""}, {"sample": "person-8222157" * 30}], ids=len)
def test_a_receipt_for_no_sample_is_refused(api, forgotten, query):
    answer = ask(api, forgotten, **query)

    assert answer.status_code == 422
    assert "8222157" not in answer.text


def test_there_is_no_receipt_before_the_end_nor_of_a_request_that_does_not_exist(api, engine, deployment):
    open_request = add_forgotten(engine, deployment.index_key, ["row-1"], ended=None)

    assert ask(api, open_request, sample="row-1").status_code == 409
    assert ask(api, REQUEST, sample="row-1").status_code == 404
    assert ask(api, "nonsense", sample="row-1").status_code == 422


def test_a_request_that_ended_without_a_certificate_has_no_receipt(api, engine, deployment):
    failed = add_forgotten(engine, deployment.index_key, ["row-1"])

    assert ask(api, failed, sample="row-1").json()["detail"] == "The request has no certificate yet"


def test_a_receipt_needs_salt_and_commitments_and_no_index(api, forgotten, sql):
    assert sql("SELECT count(*) FROM sample") == [(0,)]

    assert ask(api, forgotten, sample="row-3").status_code == 200
