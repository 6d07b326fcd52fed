"""What a finished job states: against the database, the store, and sums made the slow way."""

import base64
import hmac
import json
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from jsonschema import Draft202012Validator, FormatChecker
from starlette.testclient import TestClient

from service.domain import merkle
from service.domain.schemas import schema
from service.storage import key_of
from tests.service.conftest import Trained
from tests.service.world import AUDIT, ask, person

pytestmark = pytest.mark.slow        # jobs from claim to end, or servers and processes of their own

USELESS = {"name": "nabla_tau", "alpha0": 0, "passes": 0.01}
IMAGE = "5e" * 32
Work = Callable[[], list[UUID]]
Sql = Callable[..., Any]


@pytest.fixture
def start(trained: Trained, tmp_path: Path) -> str:
    return trained.copied_to(tmp_path)


@pytest.fixture
def settings(settings: Any) -> Any:
    return settings.model_copy(update={"image_sha256": IMAGE})


def statement(api: TestClient, request: dict[str, Any]) -> dict[str, Any]:
    envelope = api.get(f"/deletion-requests/{request['id']}/certificate").json()
    return json.loads(base64.b64decode(envelope["payload"]))


def subjects(said: dict[str, Any]) -> dict[str, str]:
    return {each["name"]: each["digest"]["sha256"] for each in said["subject"]}


def manifest(salt: bytes, refs: list[bytes]) -> str:
    committed = sorted(sha256(hmac.digest(salt, ref, "sha256") + ref).digest() for ref in refs)
    return merkle.root([merkle.leaf_hash(each) for each in committed]).hex()


def refs(sql: Sql, *, without: list[dict[str, Any]]) -> list[bytes]:
    """Of the training rows that none of these requests names."""
    gone = [each["id"] for each in without]
    found = sql(
        "SELECT sample_ref FROM sample WHERE split = 0 AND row NOT IN "
        "(SELECT row FROM forget_row WHERE request_id = ANY(CAST(:gone AS uuid[])))", gone=gone)
    return [bytes(ref) for (ref,) in found]


def salt(sql: Sql, request: dict[str, Any]) -> bytes:
    return bytes(sql("SELECT salt FROM commitment_salt WHERE request_id = :id", id=request["id"])[0][0])


def test_the_manifests_are_salted_roots_over_the_training_rows_before_and_after(
    api: TestClient, work: Work, sql: Sql
) -> None:
    one, two = (ask(api, "subjects", [person(n)]).json() for n in (1, 2))
    known, before, after = salt(sql, one), refs(sql, without=[]), refs(sql, without=[one, two])
    work()

    said = [subjects(statement(api, each)) for each in (one, two)]

    assert said[0] == said[1]
    assert said[0]["dataset-before"] == manifest(known, before)
    assert said[0]["dataset-after"] == manifest(known, after)
    assert len(after) == len(before) - 6


@pytest.mark.slow
def test_what_was_forgotten_earlier_is_in_neither_manifest(api: TestClient, work: Work, sql: Sql) -> None:
    api.put("/models/m/policy", json={"erasure": {"rows": False}, "audit": AUDIT}).raise_for_status()
    first = ask(api, "subjects", [person(1)]).json()
    work()
    again = ask(api, "subjects", [person(1), person(2)]).json()
    known, before, after = salt(sql, again), refs(sql, without=[first]), refs(sql, without=[first, again])
    work()

    said = subjects(statement(api, again))

    assert (said["dataset-before"], said["dataset-after"]) == (manifest(known, before), manifest(known, after))
    assert len(after) == len(before) - 3


def test_a_job_whose_salt_was_deleted_names_no_manifests(api: TestClient, work: Work, sql: Sql) -> None:
    request = ask(api, "subjects", [person(1)]).json()
    sql("DELETE FROM commitment_salt")

    work()

    assert subjects(statement(api, request)).keys() == {
        "dataset", "model-before", "model-after", "report.json", "report.pdf"}


def test_the_statement_of_a_job_is_of_its_schema_and_names_image_policy_and_reports(
    api: TestClient, work: Work, tmp_path: Path
) -> None:
    api.put("/models/m/policy", json={"ladder": [USELESS], "audit": AUDIT}).raise_for_status()
    request = ask(api, "samples", ["row-train-1-0"]).json()
    work()

    said = statement(api, request)

    validator = Draft202012Validator(schema(said["predicateType"]), format_checker=FormatChecker())
    assert [error.message for error in validator.iter_errors(said)] == []
    assert said["predicate"]["procedure"]["environment"]["image_sha256"] == IMAGE
    assert said["predicate"]["verdict"]["policy"]["ladder"][0]["alpha0"] == 0
    for name in ("model-before", "model-after", "report.json", "report.pdf"):
        digest = subjects(said)[name]
        assert sha256((tmp_path / "store" / key_of(digest)).read_bytes()).hexdigest() == digest


def test_the_metrics_of_a_certificate_are_those_of_its_report(api: TestClient, work: Work) -> None:
    request = ask(api, "subjects", [person(n) for n in range(10)]).json()
    work()
    report = api.get(f"/deletion-requests/{request['id']}/audit-report").json()

    metrics = {each["name"]: each for each in statement(api, request)["predicate"]["evidence"]["metrics"]}

    for result in report["results"]:
        told = metrics[f"auc_{result['signal']}"]
        assert (told["before"], told["after"]) == pytest.approx((result["auc_original"], result["auc"]), rel=1e-8)
        assert told["after_ci"] == pytest.approx(result["auc_ci95"], rel=1e-8)
    assert metrics["accuracy_holdout"]["after"] == pytest.approx(report["utility"]["holdout"]["after"], rel=1e-8)
    rates = {f"tpr_at_{at['fpr']:g}_{result['signal']}" for result in report["results"] for at in result["tpr_at"]
             if at["value"] is not None}
    assert {name for name in metrics if name.startswith("tpr_at")} == rates
    assert any(name.startswith("relearned_") for name in metrics) == bool(report["relearning"])


@pytest.mark.slow
def test_every_audited_attempt_names_a_report_that_is_kept(api: TestClient, work: Work, tmp_path: Path) -> None:
    policy = {"ladder": [USELESS, {"name": "retrain"}], "audit": AUDIT | {"alpha": 0.05}}
    api.put("/models/m/policy", json=policy).raise_for_status()
    request = ask(api, "subjects", [person(n) for n in range(30)]).json()
    work()

    said = statement(api, request)

    attempts = said["predicate"]["procedure"]["attempts"]
    for attempt in attempts:
        report = json.loads((tmp_path / "store" / key_of(attempt["report_sha256"])).read_bytes())
        assert report["verdict"]["value"] == attempt["verdict"]
    assert attempts[-1]["report_sha256"] == subjects(said)["report.json"]
