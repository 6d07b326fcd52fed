"""An erasure beside other work: models and audits of the same data set, retrained models, shadows and canaries."""

from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from starlette.testclient import TestClient

from service.db import jobs
from service.db.session import transaction
from service.scheduler import reap
from tests.service.conftest import Trained
from tests.service.erasures import LOST, Erase, Run, entries
from tests.service.world import AUDIT, MODEL, ask, files, person

OTHER = MODEL | {"name": "other", "training": MODEL["training"] | {"seed": 1}}


@pytest.fixture
def start(forgotten: Trained, tmp_path: Path) -> str:
    return forgotten.copied_to(tmp_path)


def job(api: TestClient, job_id: Any) -> dict[str, Any]:
    return api.get(f"/jobs/{job_id}").json()


def again(api: TestClient, sql: Any, run: Run, workshop: Any, job_id: Any) -> dict[str, Any]:
    """The wait is over, and a worker gets the job once more."""
    sql(LOST)
    reap(workshop.engine, workshop.keys)
    run(job_id)
    return job(api, job_id)


def rows_of(workshop: Any, job_id: Any) -> list[int]:
    from worker.jobs.material import plan

    with transaction(workshop.engine) as tx:
        return plan(workshop, jobs.get(tx, UUID(str(job_id)))).retained


def test_a_training_that_has_read_its_plan_goes_on_with_the_new_tensors(
    api: TestClient, run: Run, run_with: Any, erase: Erase, sql: Any, workshop: Any
) -> None:
    training = api.post("/models", json=OTHER).json()["job"]["id"]

    run_with(training, "read", erase)
    waits = job(api, training)
    ended = again(api, sql, run, workshop, training)

    assert (waits["status"], waits["error"]) == (
        "running", "Rows of the data set were erased meanwhile; the job begins anew")
    assert (ended["status"], ended["attempt"]) == ("succeeded", 2)


def test_a_training_that_learned_from_rows_erased_meanwhile_publishes_and_stores_nothing(
    api: TestClient, run: Run, erase: Erase, sql: Any, workshop: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    from worker.jobs import train

    training, learn, at_end = api.post("/models", json=OTHER).json()["job"]["id"], train.train, []

    def slow(*args: Any, **more: Any) -> Any:
        model = learn(*args, **more)
        if not at_end:
            erase()
            at_end.append(files(tmp_path / "store"))
        return model

    monkeypatch.setattr(train, "train", slow)
    run(training)
    waits, left, versions = job(api, training), files(tmp_path / "store"), api.get("/models/other/versions").json()
    ended = again(api, sql, run, workshop, training)

    assert waits["error"] == "Rows that were learned from were erased meanwhile; the job begins anew"
    assert (left, versions) == (at_end[0], [])
    assert ended["status"] == "succeeded"
    assert len(rows_of(workshop, training)) == 177


@pytest.mark.slow
def test_an_unlearning_of_another_model_goes_on_when_the_tensors_change_under_it(
    api: TestClient, run: Run, run_with: Any, work: Any, erase: Erase, sql: Any, workshop: Any
) -> None:
    api.post("/models", json=OTHER)
    work()
    for number in (1, 2):       # so that nobody needs the rows of person 1 any more
        body = {"model": "other", "target": {"kind": "subjects", "ids": [person(number)]}}
        request = api.post("/deletion-requests", json=body).json()
        if number == 1:
            run(request["job_id"])

    run_with(request["job_id"], "read", erase)
    ended = again(api, sql, run, workshop, request["job_id"])

    assert ended["status"] == "succeeded"
    assert api.get("/datasets/d").json()["erased"] == 3
    assert api.get(f"/deletion-requests/{request['id']}").json()["state"] == "certified"


@pytest.mark.slow
def test_a_job_that_waits_for_references_gets_new_ones_where_the_old_are_erased(
    api: TestClient, run: Run, work: Any, erase: Erase, sql: Any
) -> None:
    api.post("/models", json=OTHER | {"policy": {"ladder": [{"name": "retrain"}], "audit": AUDIT | {"references": 2}}})
    work()
    body = {"model": "other", "target": {"kind": "subjects", "ids": [person(2)]}}
    request = api.post("/deletion-requests", json=body).json()
    run(request["job_id"])
    first, last = (row[0] for row in sql("SELECT id FROM job WHERE kind = 'reference' ORDER BY created_at"))
    run(first)

    erase()
    run(last)
    work()

    assert job(api, request["job_id"])["status"] == "succeeded"
    assert len(job(api, request["job_id"])["result"]["references"]) == 2


@pytest.mark.slow
def test_retrained_models_go_but_those_that_the_job_itself_compared_with(
    api: TestClient, work: Any, run: Run, erase: Erase, sql: Any, tmp_path: Path
) -> None:
    erase()
    policy = {"ladder": [{"name": "retrain"}], "audit": AUDIT | {"references": 2}}
    api.put("/models/m/policy", json=policy).raise_for_status()
    audit = {"model": "m", "version": 2, "before": 2} | {"target": {"kind": "subjects", "ids": [person(3)]}}
    weights = (tmp_path / "store" / api.get("/models/m/versions").json()[1]["weights_key"]).read_bytes()
    api.post("/models/m/versions", files={"weights": weights}).raise_for_status()
    api.post("/audits", json=audit | {"version": 3}).raise_for_status()
    work()
    strangers = {key for (key,) in sql("SELECT weights_key FROM reference_model")}
    request = ask(api, "subjects", [person(2)]).json()
    work()
    own = job(api, request["job_id"])["result"]["references"]

    erase()

    left = {bytes(key).hex(): weights for key, weights in sql("SELECT key, weights_key FROM reference_model")}
    assert (len(strangers), len(own)) == (2, 2)
    assert set(left) == set(own)
    stored = files(tmp_path / "store")
    assert not strangers & stored
    assert set(left.values()) <= stored
    assert [thing["kind"] for thing in entries(sql)[-1]["erased"]].count("reference") == 2


AUDITED = {"method": {"name": "nabla_tau"}, "shadows": 8, "forget": 0.2, "chunk": 4}


@pytest.mark.slow
def test_scores_of_shadows_go_with_the_audit_and_wait_for_one_that_is_at_work(
    api: TestClient, run: Run, work: Any, erase: Erase, sql: Any, tmp_path: Path
) -> None:
    audit = api.post("/recipe-audits", json={"model": "m", "plan": AUDITED})
    audit.raise_for_status()
    run(audit.json()["job"]["id"])
    erase()
    waiting = sql("SELECT payload ->> 'told', not_before > clock_timestamp() FROM job WHERE status = 'queued' "
                  "AND kind = 'erase'")
    work()
    scores = {key for (key,) in sql("SELECT result ->> 'shadows' FROM job WHERE kind = 'shadows'")}

    erase()

    first, then = entries(sql)
    assert waiting == [("true", True)]
    assert [(each["kind"], each["count"]) for each in first["kept"]] == [("shadows", 1)]
    assert [thing["kind"] for thing in then["erased"]] == ["shadows"] * 2
    assert (len(scores), scores & files(tmp_path / "store")) == (2, set())
    assert sql("SELECT count(*) FROM job WHERE result ? 'shadows'") == [(0,)]
    assert api.get(audit.json()["links"]["report"]).status_code == 200
    assert sql("SELECT count(*) FROM job WHERE kind = 'erase' AND status <> 'succeeded'") == [(0,)]
