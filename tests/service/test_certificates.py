"""Certificates: the judge is the in-toto and DSSE text, a naive canonical JSON, and securesystemslib."""

import json
import math
from datetime import UTC, datetime, timedelta, timezone
from decimal import Context
from hashlib import sha256
from uuid import UUID

import pytest
import rfc8785
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError
from securesystemslib.dsse import Envelope

from service.domain import certificates
from service.ledger import keys
from service.ledger.envelopes import payload, seal
from tests.service.ledger_fixture import ORIGIN, predicate, subjects

CERTIFICATE, REQUEST = UUID(int=1), UUID(int=2)


def statement():
    return certificates.statement(subjects(), predicate(CERTIFICATE, REQUEST))


def test_a_statement_has_the_fields_of_in_toto_and_no_others():
    read = json.loads(statement())

    assert read.keys() == {"_type", "subject", "predicateType", "predicate"}
    assert read["_type"] == "https://in-toto.io/Statement/v1"
    assert read["predicateType"] == "https://expunge.example/unlearning-certificate/v1"
    assert [each["name"] for each in read["subject"]] == ["model-after", "model-before", "report.json"]
    assert all(each["digest"].keys() == {"sha256"} for each in read["subject"])


def test_a_predicate_has_its_six_parts_and_says_how_floats_were_rounded():
    read = json.loads(statement())["predicate"]

    parts = {"request", "procedure", "evidence", "verdict", "limits", "follow_up"}
    assert read.keys() == parts | {"float_digits"}
    assert read["float_digits"] == 9
    assert [each["outcome"] for each in read["procedure"]["attempts"]] == ["leaked", "published"]
    assert read["request"]["received_at"] == "2025-03-01T09:00:00Z"


def test_statements_are_canonical_and_repeatable():
    once = statement()

    assert once == statement() == rfc8785.dumps(json.loads(once))
    assert once == json.dumps(json.loads(once), sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


def test_the_order_of_subjects_does_not_matter():
    backwards = dict(reversed(subjects().items()))

    assert certificates.statement(backwards, predicate(CERTIFICATE, REQUEST)) == statement()


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_floats_keep_nine_significant_digits(number):
    read = json.loads(certificates.canonical({"x": number}), parse_int=float)["x"]      # as RFC 8785 means all numbers

    assert read == float(Context(prec=9).create_decimal(number))


@pytest.mark.parametrize("number", [math.nan, math.inf, -math.inf, 2**53 + 1])
def test_numbers_that_json_cannot_keep_are_refused(number):
    with pytest.raises(rfc8785.CanonicalizationError):
        certificates.canonical({"x": number})


def test_times_are_told_in_utc():
    elsewhere = datetime(2025, 3, 1, 11, tzinfo=timezone(timedelta(hours=2)))

    request = predicate(CERTIFICATE, REQUEST).request.model_copy(update={})
    moved = certificates.Request(**{**request.model_dump(), "received_at": elsewhere})

    assert moved.received_at == datetime(2025, 3, 1, 9, tzinfo=UTC)
    assert moved.model_dump(mode="json")["received_at"] == "2025-03-01T09:00:00Z"


def test_a_time_without_zone_is_refused():
    request = predicate(CERTIFICATE, REQUEST).request.model_dump()

    with pytest.raises(ValidationError):
        certificates.Request(**{**request, "due_at": "2025-03-01T09:00:00"})


def test_a_procedure_cannot_hide_the_attempt_that_was_published():
    procedure = predicate(CERTIFICATE, REQUEST).procedure.model_dump()

    with pytest.raises(ValidationError, match="not among the attempts"):
        certificates.Procedure(**{**procedure, "attempts": procedure["attempts"][:1]})


@pytest.mark.parametrize(
    "wrong",
    [{"model-after": "AB" * 32}, {"model-after": "ab"}, {"a name": "ab" * 32}, {"": "ab" * 32}, {}],
)
def test_subjects_need_plain_names_and_sha256_digests(wrong):
    with pytest.raises(ValueError, match=r"pattern|needs a subject"):
        certificates.statement(wrong, predicate(CERTIFICATE, REQUEST))


def test_limits_tell_an_exact_method_from_an_approximate_one():
    exact, approximate = certificates.limits(exact=True), certificates.limits(exact=False)

    assert exact[1:] == approximate[1:]
    assert "approximate" in approximate[0]
    assert "approximate" not in exact[0]


def test_an_envelope_is_dsse_as_securesystemslib_reads_it(tmp_path):
    pair = keys.new(tmp_path / "keys", ORIGIN).certificate

    sealed = seal(statement(), pair)

    read = Envelope.from_dict(json.loads(sealed))
    assert read.payload == statement() == payload(sealed)
    assert read.payload_type == "application/vnd.in-toto+json"
    assert read.verify([pair.signer.public_key], 1).keys() == {pair.vkey.label}


def test_the_report_of_the_fixture_is_named_by_its_digest():
    read = json.loads(statement())

    named = {each["name"]: each["digest"]["sha256"] for each in read["subject"]}
    assert named["report.json"] == read["predicate"]["evidence"]["report_sha256"]
    assert named["report.json"] == sha256(b'{"attacks":[]}').hexdigest()


# ---- the audit of a recipe ------------------------------------------------------------------------------------------


def test_a_certificate_carries_the_audit_of_its_recipe():
    audited = certificates.RecipeAudit(
        report_sha256="ab" * 32, n_models=64, auc_original=0.74, auc=0.52, same_code=False
    )

    read = json.loads(certificates.statement(subjects(), predicate(CERTIFICATE, REQUEST, audited)))

    told = read["predicate"]["evidence"]["recipe_audit"]
    assert told == {"report_sha256": "ab" * 32, "n_models": 64, "auc_original": 0.74, "auc": 0.52, "same_code": False}
    assert json.loads(statement())["predicate"]["evidence"]["recipe_audit"] is None
