"""Audits of recipes: shadows in child jobs, one report, and its evidence in every certificate of the recipe."""

import base64
import io
import json
import zipfile
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest
from sqlalchemy import Engine
from starlette.testclient import TestClient

from service.db import jobs
from service.db.session import transaction
from service.domain.certificates import OTHER_CODE, OTHER_MODELS
from service.domain.recipe_audits import recipe_sha256
from service.domain.recipes import Retrain, Spec
from service.domain.report import RecipeReport
from service.ledger.sequencer import sequence
from service.ledger.verify import verify
from service.storage import digest_of
from tests.service.conftest import Trained
from tests.service.world import AUDIT, ask, person

pytestmark = pytest.mark.slow        # jobs from claim to end, or servers and processes of their own

PLAN: dict[str, Any] = {"method": {"name": "retrain"}, "shadows": 8, "chunk": 4, "forget": 0.2}
Work = Callable[[], list[UUID]]
Sql = Callable[..., Any]


@pytest.fixture
def start(trained: Trained, tmp_path: Path) -> str:
    return trained.copied_to(tmp_path)


@pytest.fixture
def one(workshop: Any) -> Callable[[Any], None]:
    """A worker that gets one message."""
    from worker.jobs import run

    return lambda job_id: run(workshop, UUID(str(job_id)))


def post(api: TestClient, plan: dict[str, Any] = PLAN, *, key: str | None = None, model: str = "m") -> Any:
    headers = {} if key is None else {"Idempotency-Key": key}
    return api.post("/recipe-audits", json={"model": model, "plan": plan}, headers=headers)


def children(sql: Sql) -> list[tuple[UUID, str]]:
    return [(job, status) for job, status in sql("SELECT id, status FROM job WHERE kind = 'shadows'")]


def certified(api: TestClient, work: Work, number: int) -> tuple[dict[str, Any], dict[str, Any], dict[str, Any]]:
    """A person is forgotten by retraining: the request, its report, and its certificate's predicate."""
    api.put("/models/m/policy", json={"ladder": [{"name": "retrain"}], "audit": AUDIT})
    request = ask(api, "subjects", [person(number)]).json()
    work()
    report = api.get(f"/deletion-requests/{request['id']}/audit-report").json()
    envelope = api.get(f"/deletion-requests/{request['id']}/certificate").json()
    return request, report, json.loads(base64.b64decode(envelope["payload"]))["predicate"]


# ---- from the question to the report --------------------------------------------------------------------------------


def test_a_recipe_is_audited_by_child_jobs(api: TestClient, work: Work, sql: Sql) -> None:
    answer = post(api)
    done = work()

    audit = api.get(answer.headers["Location"]).json()
    assert answer.status_code == 202
    assert (audit["job"]["status"], audit["job"]["error"]) == ("succeeded", None)
    report = RecipeReport.model_validate_json(api.get(audit["links"]["report"]).content)
    assert [status for _, status in children(sql)] == ["succeeded"] * 2
    assert len(done) == 1 + 2 + 1
    assert report.plan.model_dump(mode="json", exclude_unset=False) == audit["plan"]
    assert report.n_in_unlearned == report.n_out == 4
    assert report.recipe_sha256 == audit["recipe_sha256"]


def test_a_recipe_is_known_by_data_spec_and_method(api: TestClient, sql: Sql) -> None:
    spec = Spec.model_validate(api.get("/models/m").json()["spec"])
    (file_key,) = sql("SELECT file_key FROM dataset")[0]

    audit = post(api).json()

    assert audit["recipe_sha256"] == recipe_sha256(digest_of(file_key), spec, Retrain())


def test_whoever_makes_the_shadows_the_report_is_the_same(api: TestClient, work: Work) -> None:
    first, second = (post(api).json() for _ in range(2))

    work()

    reports = [api.get(f"/recipe-audits/{each['id']}/report").content for each in (first, second)]
    assert reports[0] == reports[1]


def test_audits_are_listed_newest_first(api: TestClient) -> None:
    first, second = post(api).json(), post(api).json()

    assert [each["id"] for each in api.get("/recipe-audits").json()["items"]] == [second["id"], first["id"]]
    assert [each["id"] for each in api.get("/recipe-audits?limit=1&model=m").json()["items"]] == [second["id"]]


def test_a_repeated_question_gets_the_first_answer(api: TestClient, sql: Sql) -> None:
    first, again = post(api, key="k"), post(api, key="k")

    other = post(api, PLAN | {"seed": 1}, key="k")

    assert (first.json(), first.headers["Location"]) == (again.json(), again.headers["Location"])
    assert sql("SELECT count(*) FROM recipe_audit") == [(1,)]
    assert other.status_code == 422


@pytest.mark.parametrize("plan", [
    {}, PLAN | {"shadows": 7}, PLAN | {"method": {"name": "magic"}}, PLAN | {"forget": 0}, PLAN | {"more": 1},
])
def test_a_plan_that_makes_no_sense_is_refused(api: TestClient, sql: Sql, plan: dict[str, Any]) -> None:
    assert post(api, plan).status_code == 422
    assert sql("SELECT count(*) FROM recipe_audit") == [(0,)]


def test_there_is_no_audit_of_an_unknown_model_and_no_unknown_audit(api: TestClient) -> None:
    assert post(api, model="stranger").status_code == 404
    assert api.get(f"/recipe-audits/{uuid4()}").status_code == 404
    assert api.get(f"/recipe-audits/{uuid4()}/report").status_code == 404


# ---- while it runs --------------------------------------------------------------------------------------------------


def test_a_deletion_request_does_not_wait_for_the_shadows(
    api: TestClient, one: Callable[[Any], None], sql: Sql
) -> None:
    audit = post(api).json()
    one(audit["job"]["id"])
    api.put("/models/m/policy", json={"ladder": [{"name": "retrain"}], "audit": AUDIT})
    request = ask(api, "subjects", [person(1)]).json()

    one(request["job_id"])

    assert api.get(f"/deletion-requests/{request['id']}").json()["state"] == "certified"
    assert api.get(f"/recipe-audits/{audit['id']}").json()["job"]["status"] == "waiting"


@pytest.mark.slow
def test_all_shadows_learn_from_the_rows_of_when_the_audit_began(
    api: TestClient, one: Callable[[Any], None], work: Work, sql: Sql, engine: Engine
) -> None:
    plain, late = post(api).json(), post(api).json()
    for audit in (plain, late):
        one(audit["job"]["id"])
    of_late = sql("SELECT id FROM job WHERE parent_id = :id ORDER BY created_at", id=UUID(late["job"]["id"]))
    for (job,) in sql("SELECT id FROM job WHERE parent_id = :id", id=UUID(plain["job"]["id"])):
        one(job)
    one(of_late[0][0])

    certified(api, work, 1)     # a person goes between the two parts of the second audit

    reports = [api.get(f"/recipe-audits/{each['id']}/report") for each in (plain, late)]
    assert [each.status_code for each in reports] == [200, 200]
    assert reports[0].content == reports[1].content


def test_shadows_never_see_rows_that_were_forgotten_before(
    api: TestClient, work: Work, workshop: Any, engine: Engine
) -> None:
    from worker.jobs import recipe

    certified(api, work, 1)
    audit = post(api).json()
    with transaction(engine) as tx:
        job = jobs.get(tx, UUID(audit["job"]["id"]))

    rows = recipe.rows_of(workshop, recipe.task_of(workshop, job), 2).retained

    assert set(rows).isdisjoint({3, 4, 5})
    assert len(rows) == 180 - 3


def test_a_report_is_there_when_the_audit_has_ended(api: TestClient) -> None:
    audit = post(api).json()

    answer = api.get(audit["links"]["report"])

    assert (answer.status_code, answer.json()["type"]) == (409, "/docs/problems#not-yet")


def test_a_cancelled_audit_stops_its_shadows(api: TestClient, one: Callable[[Any], None], sql: Sql, work: Work) -> None:
    audit = post(api).json()
    one(audit["job"]["id"])

    answer = api.post(f"/recipe-audits/{audit['id']}/cancel")
    work()

    assert (answer.status_code, answer.json()["job"]["status"]) == (202, "cancelled")
    assert [status for _, status in children(sql)] == ["cancelled"] * 2
    report = api.get(audit["links"]["report"])
    assert (report.status_code, report.json()["type"]) == (409, "/docs/problems#conflict")
    assert api.post(f"/recipe-audits/{audit['id']}/cancel").status_code == 409


def test_an_audit_fails_when_shadows_cannot_be_made(
    api: TestClient, one: Callable[[Any], None], sql: Sql, work: Work, workshop: Any
) -> None:
    audit = post(api).json()
    one(audit["job"]["id"])
    (tensors_key,) = sql("SELECT tensors_key FROM dataset")[0]
    workshop.store.delete(tensors_key)

    work()

    job = api.get(f"/recipe-audits/{audit['id']}").json()["job"]
    assert job["status"] == "failed"
    assert "shadows could not be made" in job["error"]


# ---- evidence -------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_certificate_carries_the_audit_of_its_recipe(api: TestClient, work: Work) -> None:
    audit = post(api).json()
    work()
    raw = api.get(audit["links"]["report"]).content
    found = RecipeReport.model_validate_json(raw)

    _, report, predicate = certified(api, work, 1)

    told = predicate["evidence"]["recipe_audit"]
    assert told["report_sha256"] == report["recipe_evidence"]["report_sha256"] == sha256(raw).hexdigest()
    assert (told["n_models"], told["same_code"]) == (8, True)
    assert told["auc"] == pytest.approx(found.after.auc)
    assert told["auc_original"] == pytest.approx(found.before.auc)
    assert OTHER_MODELS in predicate["limits"]
    assert OTHER_CODE not in predicate["limits"]


def test_a_bundle_has_the_report_on_the_recipe(
    api: TestClient, work: Work, workshop: Any, engine: Engine, tmp_path: Path
) -> None:
    audit = post(api).json()
    work()
    request, _, _ = certified(api, work, 1)
    with transaction(engine) as tx:
        sequence(tx, workshop.keys, workshop.settings.origin, 9)

    data = api.get(f"/deletion-requests/{request['id']}/bundle").content

    (tmp_path / "bundle.zip").write_bytes(data)
    inside = zipfile.ZipFile(io.BytesIO(data)).read("recipe-report.json")
    assert inside == api.get(audit["links"]["report"]).content
    assert verify(tmp_path / "bundle.zip", workshop.keys.trust)[-1].ok


def test_another_method_has_no_such_evidence(api: TestClient, work: Work) -> None:
    post(api, PLAN | {"method": {"name": "fine_tune"}})
    work()

    _, report, predicate = certified(api, work, 1)

    assert report["recipe_evidence"] is None
    assert predicate["evidence"]["recipe_audit"] is None
    assert OTHER_MODELS not in predicate["limits"]


def test_a_certificate_says_when_the_recipe_was_audited_with_other_code(
    api: TestClient, work: Work, sql: Sql, workshop: Any
) -> None:
    audit = post(api).json()
    work()
    older = json.loads(api.get(audit["links"]["report"]).content) | {"code_sha256": "00" * 32}
    key = workshop.store.put_bytes(json.dumps(older).encode())
    sql("UPDATE recipe_audit SET report_key = :key", key=key)

    _, report, predicate = certified(api, work, 1)

    assert report["recipe_evidence"]["same_code"] is False
    assert predicate["evidence"]["recipe_audit"]["same_code"] is False
    assert OTHER_CODE in predicate["limits"]
