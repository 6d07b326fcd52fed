"""Whole jobs, interrupted, repeated, overtaken and chained, against the database and the store that they write."""

import base64
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import Engine
from starlette.testclient import TestClient

from tests.service.conftest import Trained
from tests.service.world import AUDIT, MODEL, ask, files, person, reap, stored
from tests.tiny import tiny_rows

pytestmark = pytest.mark.slow        # jobs from claim to end, or servers and processes of their own

LOST = "UPDATE job SET lease_until = clock_timestamp() - interval '1 second' WHERE id = :id"
USELESS = {"name": "nabla_tau", "alpha0": 0, "passes": 0.01}
Work = Callable[[], list[UUID]]


@pytest.fixture
def start(trained: Trained, tmp_path: Path) -> str:
    return trained.copied_to(tmp_path)


def get(api: TestClient, request: dict[str, Any]) -> dict[str, Any]:
    return api.get(f"/deletion-requests/{request['id']}").json()


def result(api: TestClient, request: dict[str, Any]) -> dict[str, Any]:
    return api.get(f"/jobs/{request['job_id']}").json()["result"]


def statement(api: TestClient, request: dict[str, Any]) -> dict[str, Any]:
    envelope = api.get(f"/deletion-requests/{request['id']}/certificate").json()
    return json.loads(base64.b64decode(envelope["payload"]))


# ---- a message is a hint --------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_second_message_about_a_finished_job_does_nothing(
    api: TestClient, engine: Engine, run: Callable[[str], None], tmp_path: Path
) -> None:
    request = ask(api, "subjects", [person(1)]).json()
    run(request["job_id"])
    before = stored(engine), files(tmp_path / "store")

    run(request["job_id"])

    assert (stored(engine), files(tmp_path / "store")) == before


def test_a_message_about_no_job_does_nothing(engine: Engine, run: Callable[[str], None]) -> None:
    before = stored(engine)

    run("00000000-0000-4000-8000-000000000000")

    assert stored(engine) == before


def test_a_message_about_a_job_that_runs_elsewhere_does_nothing(
    api: TestClient, run: Callable[[str], None], run_with: Callable[..., None]
) -> None:
    request = ask(api, "subjects", [person(1)]).json()

    run_with(request["job_id"], "read", lambda: run(request["job_id"]))

    assert api.get(f"/jobs/{request['job_id']}").json()["attempt"] == 1
    assert get(api, request)["version"] == 2


@pytest.mark.slow
@pytest.mark.parametrize("when", ["read", "write"])
def test_a_worker_that_comes_back_from_the_dead_publishes_nothing(
    api: TestClient, run: Callable[[str], None], run_with: Callable[..., None], sql: Any, when: str
) -> None:
    request = ask(api, "subjects", [person(1)]).json()
    after = []

    def overtaken() -> None:
        sql(LOST, id=request["job_id"])
        reap(api.app.state.context.engine)
        run(request["job_id"])
        after.append(sql("SELECT * FROM certificate, model_version, job ORDER BY 1, 2, 3"))

    run_with(request["job_id"], when, overtaken)

    job = api.get(f"/jobs/{request['job_id']}").json()
    assert (job["status"], job["attempt"]) == ("succeeded", 2)
    assert [v["number"] for v in api.get("/models/m/versions").json()] == [1, 2]
    assert sql("SELECT count(*) FROM certificate") == [(1,)]
    assert sql("SELECT * FROM certificate, model_version, job ORDER BY 1, 2, 3") == after[0]


@pytest.mark.slow
def test_a_worker_that_only_lost_its_lease_to_the_reaper_publishes_nothing(
    api: TestClient, run_with: Callable[..., None], sql: Any
) -> None:
    request = ask(api, "subjects", [person(1)]).json()

    def reaped() -> None:
        sql(LOST, id=request["job_id"])
        reap(api.app.state.context.engine)

    run_with(request["job_id"], "write", reaped)

    assert api.get(f"/jobs/{request['job_id']}").json()["status"] == "queued"
    assert sql("SELECT count(*) FROM certificate") == [(0,)]
    assert api.get("/models/m").json()["active_version"] == 1


def test_a_job_that_is_interrupted_at_its_end_is_done_again_by_the_next_worker(
    api: TestClient, run: Callable[[str], None], run_with: Callable[..., None], sql: Any
) -> None:
    request = ask(api, "subjects", [person(1)]).json()

    def breaks() -> None:
        raise RuntimeError(person(1))

    run_with(request["job_id"], "write", breaks)
    interrupted = api.get(f"/jobs/{request['job_id']}").json()
    sql(LOST, id=request["job_id"])
    reap(api.app.state.context.engine)
    run(request["job_id"])

    assert interrupted["error"] == "An unforeseen RuntimeError"
    assert get(api, request)["state"] == "certified"
    assert sql("SELECT count(*) FROM certificate") == [(1,)]


def test_a_job_whose_tensors_are_gone_fails_with_its_request(
    api: TestClient, run: Callable[[str], None], tmp_path: Path, sql: Any
) -> None:
    (key,) = sql("SELECT tensors_key FROM dataset")[0]
    (tmp_path / "store" / key).unlink()
    request = ask(api, "subjects", [person(1)]).json()

    run(request["job_id"])

    assert get(api, request)["state"] == "failed"
    assert api.get("/models/m").json()["active_version"] == 1


# ---- one job after another ------------------------------------------------------------------------------------------


def test_requests_that_wait_together_share_one_job_and_one_version(api: TestClient, work: Work) -> None:
    one, two = (ask(api, "subjects", [person(n)]).json() for n in (1, 2))

    work()

    assert one["job_id"] == two["job_id"]
    assert [get(api, each)["version"] for each in (one, two)] == [2, 2]
    assert result(api, one)["n_forget"] == 6
    assert statement(api, one)["predicate"]["request"]["n_samples"] == 3


@pytest.mark.slow
def test_a_request_that_comes_while_a_job_runs_gets_the_next_one(
    api: TestClient, run_with: Callable[..., None], work: Work
) -> None:
    first = ask(api, "subjects", [person(1)]).json()
    late: list[Any] = []

    run_with(first["job_id"], "read", lambda: late.append(ask(api, "subjects", [person(2)]).json()))
    between = get(api, late[0])["state"]
    work()

    assert late[0]["job_id"] != first["job_id"]
    assert between == "scheduled"
    assert [get(api, each)["version"] for each in (first, late[0])] == [2, 3]


@pytest.mark.slow
def test_rows_that_were_forgotten_are_never_retained_again(api: TestClient, work: Work) -> None:
    train = sum(row["split"] == "train" for row in tiny_rows())
    seen = []

    for number in (1, 2, 3):
        request = ask(api, "subjects", [person(number)]).json()
        work()
        seen.append(result(api, request))

    assert [each["n_forget"] for each in seen] == [3, 3, 3]
    assert [each["n_retain"] for each in seen] == [train - 3, train - 6, train - 9]


@pytest.mark.slow
def test_rows_that_were_forgotten_can_be_asked_for_again(api: TestClient, work: Work) -> None:
    train = sum(row["split"] == "train" for row in tiny_rows())
    ask(api, "subjects", [person(1)])
    work()

    again = ask(api, "samples", ["row-train-1-0", "row-train-1-1"]).json()
    work()

    assert get(api, again)["state"] == "certified"
    assert result(api, again)["n_retain"] == train - 3


def test_a_model_is_not_trained_when_its_data_set_cannot_be_indexed(
    api: TestClient, tmp_path: Path, tiny: Path, work: Work, sql: Any
) -> None:
    added = api.post("/datasets", data={"name": "e"}, files={"file": tiny.read_bytes()}).json()
    api.post("/models", json=MODEL | {"name": "n", "dataset": "e"})
    (key,) = sql("SELECT file_key FROM dataset WHERE name = 'e'")[0]
    (tmp_path / "store" / key).unlink()

    work()
    reap(api.app.state.context.engine)

    assert api.get(f"/jobs/{added['job']['id']}").json()["status"] == "failed"
    assert api.get("/datasets/e").json()["status"] == "failed"
    assert sql("SELECT status FROM job WHERE kind = 'train' AND after_id IS NOT NULL ORDER BY created_at") == [
        ("succeeded",), ("failed",)]
    assert ask(api, "subjects", [person(1)], model="n").status_code == 409


# ---- targets and rungs ----------------------------------------------------------------------------------------------


def test_single_rows_are_forgotten(api: TestClient, work: Work) -> None:
    request = ask(api, "samples", ["row-train-1-0", "row-train-2-2"]).json()

    work()

    assert get(api, request)["state"] == "certified"
    assert result(api, request)["n_forget"] == 2


@pytest.mark.slow
def test_a_whole_class_is_forgotten(api: TestClient, work: Work) -> None:
    rows = [row for row in tiny_rows() if row["split"] == "train" and row["label"] == 2]

    request = ask(api, "classes", [2]).json()
    work()

    assert request["n_samples"] == result(api, request)["n_forget"] == len(rows)
    assert get(api, request)["state"] == "certified"
    said = statement(api, request)["predicate"]
    assert said["request"]["target_kind"] == "classes"
    assert [each["recipe"]["name"] for each in said["procedure"]["attempts"]] == ["retrain"]
    assert said["verdict"]["exact"] is True


def test_a_policy_without_a_method_for_classes_refuses_them_and_takes_persons(api: TestClient) -> None:
    api.put("/models/m/policy", json={"ladder": [{"name": "nabla_tau"}]}).raise_for_status()

    refused, taken = ask(api, "classes", [2]), ask(api, "subjects", [person(1)])

    assert refused.status_code == 422
    assert [fault["pointer"] for fault in refused.json()["errors"]] == ["/target/kind"]
    assert taken.status_code == 202


@pytest.mark.slow
def test_a_rung_that_leaks_is_followed_by_retraining_and_both_are_disclosed(api: TestClient, work: Work) -> None:
    policy = {"ladder": [USELESS, {"name": "retrain"}], "audit": AUDIT | {"alpha": 0.05}}
    assert api.put("/models/m/policy", json=policy).status_code == 200

    request = ask(api, "subjects", [person(n) for n in range(30)]).json()
    work()

    said = statement(api, request)["predicate"]
    attempts = said["procedure"]["attempts"]
    assert [each["recipe"]["name"] for each in attempts] == ["nabla_tau", "retrain"]
    assert [each["outcome"] for each in attempts] == ["leak", "published"]
    assert attempts[0]["verdict"] == "LEAK_DETECTED"
    assert said["verdict"]["exact"] is True
    assert [each["outcome"] for each in result(api, request)["attempts"]] == ["leak", "published"]


@pytest.mark.slow
def test_the_states_of_an_escalation_go_back_from_auditing_to_unlearning(
    api: TestClient, work: Work, sql: Any
) -> None:
    policy = {"ladder": [USELESS, {"name": "retrain"}], "audit": AUDIT | {"alpha": 0.05}}
    api.put("/models/m/policy", json=policy)
    ask(api, "subjects", [person(n) for n in range(30)])

    work()

    kinds = [kind for (kind,) in sql("SELECT kind FROM request_event ORDER BY id")]
    steps = [kind for before, kind in zip(["", *kinds], kinds, strict=False) if kind != before]
    first, second = ["unlearning", "auditing", "attempt"], ["unlearning", "auditing", "certified"]
    assert steps == ["received", "scheduled", *first, *second]


def test_a_ladder_that_ends_with_a_leak_publishes_nothing(api: TestClient, work: Work) -> None:
    api.put("/models/m/policy", json={"ladder": [USELESS], "audit": AUDIT | {"alpha": 0.05}})

    request = ask(api, "subjects", [person(n) for n in range(30)]).json()
    work()

    assert get(api, request)["state"] == "failed"
    assert "ladder" in api.get(f"/jobs/{request['job_id']}").json()["error"]
    assert api.get("/models/m").json()["active_version"] == 1
