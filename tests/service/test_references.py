"""Retrained models: trained by children while their parent waits, once for all audits that can share them."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import Engine
from starlette.testclient import TestClient

from tests.service.conftest import Trained
from tests.service.world import AUDIT, ask, person, reap

pytestmark = pytest.mark.slow        # jobs from claim to end, or servers and processes of their own

LOST = "UPDATE job SET lease_until = clock_timestamp() - interval '1 second' WHERE status = 'running'"
TWO: dict[str, Any] = {"ladder": [{"name": "retrain"}], "audit": AUDIT | {"references": 2}}
Work = Callable[[], list[UUID]]


@pytest.fixture
def start(trained: Trained, tmp_path: Path) -> str:
    return trained.copied_to(tmp_path)


@pytest.fixture
def children(sql: Any) -> Callable[..., list[UUID]]:
    return lambda: [row[0] for row in sql("SELECT id FROM job WHERE kind = 'reference' ORDER BY created_at")]


def parked(api: TestClient, run: Callable[[Any], None], number: int = 1, policy: dict[str, Any] = TWO) -> Any:
    """A request whose job waits for its references."""
    api.put("/models/m/policy", json=policy).raise_for_status()
    request = ask(api, "subjects", [person(number)]).json()
    run(request["job_id"])
    return request


def job(api: TestClient, job_id: Any) -> dict[str, Any]:
    return api.get(f"/jobs/{job_id}").json()


def state(api: TestClient, request: dict[str, Any]) -> str:
    return api.get(f"/deletion-requests/{request['id']}").json()["state"]


def report(api: TestClient, request: dict[str, Any]) -> dict[str, Any]:
    return api.get(f"/deletion-requests/{request['id']}/audit-report").json()


def test_a_job_waits_for_its_references_and_goes_on_with_them(
    api: TestClient, run: Callable[[Any], None], children: Any, sql: Any
) -> None:
    request = parked(api, run)
    waits = job(api, request["job_id"])
    first, last = children()

    run(first)
    half = job(api, request["job_id"])["progress"]
    run(last)
    sent = sql("SELECT job_id FROM outbox ORDER BY created_at DESC LIMIT 1")
    run(request["job_id"])

    ended = job(api, request["job_id"])
    assert (waits["status"], waits["attempt"]) == ("waiting", 0)
    assert waits["progress"] == {"phase": "references", "done": 0, "total": 2}
    assert half == {"phase": "references", "done": 1, "total": 2}
    assert sent == [(UUID(request["job_id"]),)]
    assert (ended["status"], ended["attempt"]) == ("succeeded", 1)
    assert len(ended["result"]["reference_seconds"]) == 2
    assert all(seconds > 0 for seconds in ended["result"]["reference_seconds"])
    seen = report(api, request)
    assert seen["references"]["k"] == len(set(seen["references"]["model_sha256"])) == 2
    assert seen["null_basis"] == "paired_reference"


def test_a_reference_is_the_model_that_retraining_with_its_seed_makes(
    api: TestClient, run: Callable[[Any], None], children: Any, sql: Any, workshop: Any
) -> None:
    from worker.checkpoint import digest
    from worker.jobs.material import material, plan
    from worker.training import train

    request = parked(api, run)
    for child in children():
        run(child)
    run(request["job_id"])

    from service.db import jobs
    from service.db.session import transaction

    with transaction(workshop.engine) as tx:
        task = plan(workshop, jobs.get(tx, UUID(request["job_id"])))
    retain = material(workshop, task).retain
    made = [digest(train(task.spec.seeded(task.spec.training.seed + k), retain)) for k in (1, 2)]
    assert report(api, request)["references"]["model_sha256"] == made


def test_a_later_audit_of_the_same_rows_trains_nothing_again(
    api: TestClient, work: Work, children: Any, sql: Any
) -> None:
    api.put("/models/m/policy", json=TWO)
    request = ask(api, "subjects", [person(1)]).json()
    work()
    trained = children()

    later = api.post("/audits", json={"model": "m"}).json()
    work()

    assert len(trained) == 2
    assert children() == trained
    assert job(api, later["job_id"])["status"] == "succeeded"
    assert job(api, later["job_id"])["result"]["reference_seconds"] == (
        job(api, request["job_id"])["result"]["reference_seconds"])


def test_other_rows_another_recipe_or_another_augmentation_need_other_references(
    api: TestClient, work: Work, children: Any
) -> None:
    api.put("/models/m/policy", json=TWO)
    ask(api, "subjects", [person(1)])
    work()
    counts = [len(children())]

    ask(api, "subjects", [person(2)])
    work()
    counts.append(len(children()))
    plan = TWO["audit"] | {"reference_augmentation": {"name": "mixup"}}
    api.post("/audits", json={"model": "m", "plan": plan}).raise_for_status()
    work()
    counts.append(len(children()))
    api.post("/audits", json={"model": "m", "plan": TWO["audit"] | {"references": 3}}).raise_for_status()
    work()
    counts.append(len(children()))

    assert counts == [2, 4, 6, 7]


def test_two_jobs_that_want_the_same_model_at_once_share_it(
    api: TestClient, work: Work, run: Callable[[Any], None], children: Any, sql: Any
) -> None:
    ask(api, "subjects", [person(1)])
    work()
    plan = TWO["audit"]
    jobs = [api.post("/audits", json={"model": "m", "plan": plan}).json()["job_id"] for _ in range(2)]
    for each in jobs:
        run(each)

    asked = len(children())
    for child in children():
        run(child)
    for each in jobs:
        run(each)

    assert asked == 4
    assert sql("SELECT count(*) FROM reference_model") == [(2,)]
    assert [job(api, each)["status"] for each in jobs] == ["succeeded"] * 2
    assert [job(api, child)["result"]["seconds"] > 0 for child in children()] == [True, True, False, False]


def test_a_policy_that_is_replaced_while_a_job_waits_does_not_change_the_job(
    api: TestClient, run: Callable[[Any], None], children: Any
) -> None:
    request = parked(api, run)

    api.put("/models/m/policy", json={"audit": AUDIT}).raise_for_status()
    for child in children():
        run(child)
    run(request["job_id"])

    assert report(api, request)["plan"]["references"] == 2
    assert [each["method"]["name"] for each in job(api, request["job_id"])["result"]["attempts"]] == ["retrain"]


def test_a_request_that_comes_while_a_job_waits_gets_the_next_one(
    api: TestClient, work: Work, run: Callable[[Any], None]
) -> None:
    first = parked(api, run)
    late = ask(api, "subjects", [person(2)]).json()
    run(late["job_id"])
    turned_away = job(api, late["job_id"])["status"]

    work()

    assert turned_away == "queued"
    assert late["job_id"] != first["job_id"]
    versions = [api.get(f"/deletion-requests/{each['id']}").json()["version"] for each in (first, late)]
    assert versions == [2, 3]


# ---- what is lost ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("when", ["read", "write"])
def test_a_killed_reference_is_trained_again_and_its_first_worker_writes_nothing(
    api: TestClient, run: Callable[[Any], None], run_with: Callable[..., None], children: Any, engine: Engine, sql: Any,
    when: str,
) -> None:
    request = parked(api, run)
    first, last = children()

    def overtaken() -> None:
        sql(LOST)
        reap(engine)
        run(first)

    run_with(first, when, overtaken)
    run(last)
    run(request["job_id"])

    assert [job(api, each)["attempt"] for each in (first, last)] == [2, 1]
    assert sql("SELECT count(*) FROM reference_model") == [(2,)]
    assert state(api, request) == "certified"
    assert sql("SELECT count(*) FROM certificate") == [(1,)]


def test_a_killed_parent_does_not_lose_what_its_children_made(
    api: TestClient, run: Callable[[Any], None], run_with: Callable[..., None], children: Any, engine: Engine, sql: Any
) -> None:
    request = parked(api, run)
    for child in children():
        run(child)

    def killed() -> None:
        sql(LOST)
        reap(engine)

    run_with(request["job_id"], "write", killed)
    between = state(api, request), job(api, request["job_id"])["status"]
    run(request["job_id"])

    assert between == ("auditing", "queued")
    assert len(children()) == 2
    assert state(api, request) == "certified"
    assert sql("SELECT count(*) FROM certificate") == [(1,)]


def test_a_parent_fails_when_a_reference_fails_for_good(
    api: TestClient, run: Callable[[Any], None], children: Any, sql: Any, tmp_path: Path
) -> None:
    request = parked(api, run)
    first, last = children()
    run(first)
    (key,) = sql("SELECT tensors_key FROM dataset")[0]
    (tmp_path / "store" / key).rename(tmp_path / "away")
    run(last)
    (tmp_path / "away").rename(tmp_path / "store" / key)

    run(request["job_id"])

    ended = job(api, request["job_id"])
    assert job(api, last)["status"] == "failed"
    assert (ended["status"], state(api, request)) == ("failed", "failed")
    assert "could not be trained" in ended["error"]


# ---- what is stopped ------------------------------------------------------------------------------------------------


def test_a_request_whose_job_waits_is_cancelled_at_once_with_all_children(
    api: TestClient, run: Callable[[Any], None], children: Any
) -> None:
    request = parked(api, run)

    answer = api.post(f"/deletion-requests/{request['id']}/cancel")
    for each in (*children(), request["job_id"]):
        run(each)

    assert (answer.status_code, state(api, request)) == (202, "cancelled")
    assert {job(api, each)["status"] for each in (*children(), request["job_id"])} == {"cancelled"}
    assert api.get("/models/m").json()["active_version"] == 1


def test_a_running_reference_stops_within_a_step_when_its_parent_is_cancelled(
    api: TestClient, run: Callable[[Any], None], run_with: Callable[..., None], children: Any, sql: Any
) -> None:
    request = parked(api, run)
    first, last = children()

    run_with(first, "read", lambda: api.post(f"/deletion-requests/{request['id']}/cancel"))

    assert [job(api, each)["status"] for each in (first, last)] == ["cancelled", "cancelled"]
    assert sql("SELECT count(*) FROM reference_model") == [(0,)]


def test_a_request_cannot_leave_a_waiting_job_that_it_shares(
    api: TestClient, run: Callable[[Any], None], work: Work
) -> None:
    api.put("/models/m/policy", json=TWO)
    one, two = (ask(api, "subjects", [person(n)]).json() for n in (1, 2))
    run(one["job_id"])

    answer = api.post(f"/deletion-requests/{one['id']}/cancel")
    work()

    assert answer.status_code == 409
    assert [state(api, each) for each in (one, two)] == ["certified", "certified"]


# ---- lineage --------------------------------------------------------------------------------------------------------


def test_the_report_says_where_the_model_comes_from(api: TestClient, work: Work, sql: Any) -> None:
    alone = ask(api, "subjects", [person(1)]).json()
    work()
    together = [ask(api, "subjects", [person(n)]).json() for n in (2, 3)]
    work()

    (file_key, root) = sql("SELECT file_key, encode(forget_root, 'hex') FROM dataset, deletion_request WHERE n_samples "
                           "= 3 ORDER BY received_at LIMIT 1")[0]
    first, second = report(api, alone)["subject"], report(api, together[0])["subject"]
    assert first["dataset_sha256"] == file_key.rsplit("/", 1)[-1]
    assert first["index_commitment"] == root
    assert second["index_commitment"] is None
    tried = api.get(f"/jobs/{alone['job_id']}").json()["result"]["attempts"]
    assert (first["algorithm"], first["absent_from_training"]) == (tried[-1]["method"]["name"], True)
    assert first["recipe_sha256"] == second["recipe_sha256"] is not None
    assert "row-train" not in json.dumps(report(api, alone))
