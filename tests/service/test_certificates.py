"""Certificates: the judge is the in-toto and DSSE text, a naive canonical JSON, and securesystemslib."""

import json
import math
from datetime import UTC, datetime, timedelta, timezone
from decimal import Context
from hashlib import sha256
from typing import get_args
from uuid import UUID

import pytest
import rfc8785
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError
from securesystemslib.dsse import Envelope

from service.db.ledger import ENVELOPE_LIMIT
from service.domain import certificates
from service.domain.policy import RELATIVE, SIGNALS, AuditPlan, Policy
from service.domain.recipes import AscentGuard, Augmentation, Mask, NablaTau, Retrain, Rung
from service.ledger import keys
from service.ledger.envelopes import payload, seal
from tests.service.ledger_fixture import ORIGIN, predicate, subjects

CERTIFICATE, REQUEST = UUID(int=1), UUID(int=2)
RUNGS = get_args(get_args(Rung)[0])


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
    assert read.keys() == parts | {"float_digits", "supersedes"}
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


# ---- size -----------------------------------------------------------------------------------------------------------


def largest(menu):
    """The default of a union of the menu that takes most room."""
    kinds = get_args(get_args(menu)[0])
    known = [kind() for kind in kinds if not any(field.is_required() for field in kind.model_fields.values())]
    return max(known, key=lambda each: len(each.model_dump_json()))


def worst_case():
    """Eight rungs that were all audited, each with every number; every signal with every metric; long sentences."""
    mask, augmented, long, number = largest(Mask), largest(Augmentation), "x" * 200, 0.123456789
    method = NablaTau(mask=mask, augment_retain=augmented, augment_forget=augmented, guard=AscentGuard())
    ladder, plan = (method,) * 7 + (Retrain(),), AuditPlan(rungs=tuple(kind() for kind in RUNGS), references=64)
    headline = {f"{'measured' * 4}_{n}": number for n in range(16)}
    attempts = tuple(
        certificates.Attempt(
            recipe=each.model_dump(mode="json"), outcome="published", verdict="LEAK_DETECTED", seconds=number,
            headline=headline, report_sha256="ab" * 32,
        )
        for each in ladder
    )
    metrics = tuple(
        certificates.Metric(
            name=f"{name}_modified_entropy_{n}", definition=long, before=number, after=number, reference=number,
            before_ci=(number, number), after_ci=(number, number), reference_ci=(number, number),
        )
        for n in range(len(SIGNALS) + len(RELATIVE)) for name in ("auc", "ks", "tpr_at_0.01", "tpr_at_0.001")
    )
    whole = predicate(CERTIFICATE, REQUEST)
    policy = Policy(ladder=ladder, audit=plan).model_dump(mode="json")
    things = tuple(certificates.Thing(kind="dataset-rows", sha256="ab" * 32) for _ in range(64))
    attacks = tuple(whole.evidence.attacks[0].model_copy(update={"signals": (*SIGNALS, *RELATIVE)}) for _ in range(6))
    return whole.model_copy(update={
        "procedure": whole.procedure.model_copy(update={"attempts": attempts, "method": attempts[0].recipe}),
        "evidence": whole.evidence.model_copy(update={"metrics": metrics, "attacks": attacks}),
        "verdict": whole.verdict.model_copy(update={"policy": policy}),
        "limits": (long,) * 10,
        "follow_up": whole.follow_up.model_copy(update={"to_erase": things}),
    })


def test_the_largest_certificate_fits_into_a_tile(tmp_path):
    pair = keys.new(tmp_path / "keys", ORIGIN).certificate

    sealed = seal(certificates.statement(subjects(), worst_case()), pair)

    assert len(json.loads(payload(sealed))["predicate"]["procedure"]["attempts"]) == 8
    assert 30_000 < len(sealed) <= ENVELOPE_LIMIT
