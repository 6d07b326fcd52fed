"""The published schemas: the committed copies, and real statements held against them by another implementation."""

import json
from datetime import UTC, datetime
from uuid import UUID

import pytest
from jsonschema import Draft202012Validator, FormatChecker

from service.domain import certificates, entries
from service.domain.certificates import Attempt, Thing
from service.domain.schemas import SCHEMAS, schema
from tests.service.ledger_fixture import predicate, subjects
from tests.service.refresh_schemas import FOLDER, documents

NOW, ID, DIGEST = datetime(2025, 3, 1, 9, tzinfo=UTC), UUID(int=7), "ab" * 32
ATTEMPT = Attempt(recipe={"name": "scrub"}, outcome="leak", verdict="LEAK_DETECTED", seconds=3, report_sha256=DIGEST)
ENTRIES = (
    entries.Attempted(request_ids=(ID,), job_id=ID, run=1, rung=1, attempt=ATTEMPT, policy_sha256=DIGEST, at=NOW),
    entries.Failed(request_ids=(ID,), job_id=ID, runs=3, reason="Its worker was lost", at=NOW),
    entries.Erased(
        request_ids=(ID,), job_id=ID, erased=(Thing(kind="weights", sha256=DIGEST),), rows=3, suppressed=3, at=NOW,
        kept=(entries.Kept(kind="dataset-rows", count=1, why="Another model needs it"),), limits=("Copies elsewhere",),
    ),
    entries.Corrected(
        request_id=ID, action="revokes", certificate_id=ID, leaf_hash=DIGEST, reason="issued-by-mistake", at=NOW
    ),
    entries.KeyChanged(action="rotated", use="checkpoints", vkey="a+b+c", replaces="a+d+e", at=NOW),
    entries.SaltForgotten(request_id=ID, at=NOW),
)


STATEMENTS = {
    "certificate": certificates.statement(subjects(), predicate(ID, ID)),
    **{entry.kind: entries.statement(entry, {"policy.json": DIGEST}) for entry in ENTRIES},
}


def errors(read):
    validator = Draft202012Validator(schema(read["predicateType"]), format_checker=FormatChecker())
    return [error.message for error in validator.iter_errors(read)]


def test_the_committed_schemas_are_those_of_the_code():
    committed = {path.name: path.read_text("utf-8") for path in FOLDER.iterdir()}

    assert committed == documents(), "python -m tests.service.refresh_schemas"


def test_there_is_a_schema_of_every_kind_of_entry_and_each_is_one():
    assert set(SCHEMAS.values()) == {certificates.PREDICATE_TYPE, *(entry.type for entry in entries.ENTRIES)}
    assert {type(entry) for entry in ENTRIES} == set(entries.ENTRIES)
    for kind in SCHEMAS.values():
        Draft202012Validator.check_schema(schema(kind))


@pytest.mark.parametrize("kind", STATEMENTS)
def test_every_kind_of_statement_is_of_its_schema(kind):
    assert errors(json.loads(STATEMENTS[kind])) == []


@pytest.mark.parametrize("kind", STATEMENTS)
def test_no_part_of_a_statement_may_be_missing_or_another(kind):
    whole = json.loads(STATEMENTS[kind])
    without = [{name: whole[name] for name in whole.keys() - {gone}} for gone in ("_type", "subject", "predicate")]
    nameless = whole | {"subject": [{"name": "model-before", "digest": {}}]}
    more = whole | {"predicate": whole["predicate"] | {"name_of_the_person": "x"}}

    for wrong in (*without, nameless, whole | {"subject": []}, more):
        assert errors(wrong | {"predicateType": whole["predicateType"]}), wrong


def test_schemas_are_served_by_name(api):
    listed = api.get("/schemas").json()

    assert {each["name"] for each in listed} == SCHEMAS.keys()
    for each in listed:
        answer = api.get(each["link"])
        assert answer.headers["content-type"] == "application/schema+json"
        assert answer.json() == schema(each["predicate_type"])
        assert answer.json()["$id"] == each["predicate_type"]


@pytest.mark.parametrize("name", ["none", "..", "%2e%2e%2fkeys", "a" * 1000])
def test_a_schema_that_does_not_exist_is_a_problem_and_no_trace(api, name):
    answer = api.get(f"/schemas/{name}")

    assert answer.status_code in (404, 422)
    assert answer.headers["content-type"] == "application/problem+json"
