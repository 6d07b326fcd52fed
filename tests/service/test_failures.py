"""Attempts and failures in the ledger: what did not work is told of, once, with its report, by our own words."""

import json
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
import rfc8785
from sqlalchemy import Engine
from starlette.testclient import TestClient

from service.domain.policy import Policy
from service.ledger import append
from service.ledger.envelopes import payload
from service.storage import key_of
from tests.service.conftest import Trained
from tests.service.ledger_fixture import sequence_all
from tests.service.world import AUDIT, ask, person, reap

pytestmark = pytest.mark.slow        # jobs from claim to end, or servers and processes of their own

LOST = "UPDATE job SET lease_until = clock_timestamp() - interval '1 second' WHERE id = :id"
USELESS = {"name": "nabla_tau", "alpha0": 0, "passes": 0.01}
LEAKING = {"ladder": [USELESS], "audit": AUDIT | {"alpha": 0.05}}
Run = Callable[[str], None]


@pytest.fixture
def start(trained: Trained, tmp_path: Path) -> str:
    return trained.copied_to(tmp_path)


@pytest.fixture
def told(workshop: Any, sql: Any) -> Callable[[], list[tuple[str, dict[str, Any]]]]:
    """(kind, predicate) of everything that waits for the sequencer, in order."""

    def read() -> list[tuple[str, dict[str, Any]]]:
        rows = sql("SELECT kind, envelope FROM ledger_inbox ORDER BY id")
        return [(kind, json.loads(payload(envelope))["predicate"]) for kind, envelope in rows]

    return read


def crowd(api: TestClient, policy: dict[str, Any]) -> dict[str, Any]:
    api.put("/models/m/policy", json=policy).raise_for_status()
    return ask(api, "subjects", [person(n) for n in range(30)]).json()


def test_a_ladder_that_ends_with_a_leak_is_told_as_an_attempt_and_a_failure(
    api: TestClient, run: Run, told: Any, tmp_path: Path
) -> None:
    request = crowd(api, LEAKING)

    run(request["job_id"])

    (first, attempt), (second, failure) = told()
    assert (first, second) == ("attempt", "failure")
    assert attempt["request_ids"] == failure["request_ids"] == [request["id"]]
    assert (attempt["run"], attempt["rung"], attempt["attempt"]["outcome"]) == (1, 1, "leak")
    assert attempt["attempt"]["recipe"]["alpha0"] == 0
    assert failure["reason"] == "None of the 1 rungs of the policy's ladder may be published"
    report = (tmp_path / "store" / key_of(attempt["attempt"]["report_sha256"])).read_bytes()
    assert json.loads(report)["verdict"]["value"] == attempt["attempt"]["verdict"] == "LEAK_DETECTED"


def test_the_policy_of_an_attempt_is_bound_by_its_digest(api: TestClient, run: Run, told: Any) -> None:
    request = crowd(api, LEAKING)

    run(request["job_id"])

    applied = Policy.model_validate(LEAKING).model_dump(mode="json")
    assert told()[0][1]["policy_sha256"] == sha256(rfc8785.dumps(applied)).hexdigest()


def test_the_stream_tells_of_a_discarded_attempt(api: TestClient, run: Run, sql: Any) -> None:
    request = crowd(api, LEAKING)

    run(request["job_id"])

    (event,) = sql("SELECT data FROM request_event WHERE kind = 'attempt'")
    assert event[0] == {"rung": 1, "method": "nabla_tau", "outcome": "leak", "verdict": "LEAK_DETECTED"}
    stream = api.get(f"/deletion-requests/{request['id']}/events").text
    assert [line for line in stream.splitlines() if line == "event: attempt"] == ["event: attempt"]


@pytest.mark.slow
def test_a_rung_that_is_climbed_again_by_another_worker_is_another_attempt(
    api: TestClient, run: Run, run_with: Callable[..., None], told: Any, sql: Any
) -> None:
    request = crowd(api, LEAKING)

    def breaks() -> None:
        raise RuntimeError(person(1))

    run_with(request["job_id"], "write", breaks)        # the report of the first attempt cannot be stored
    assert told() == []
    sql(LOST, id=request["job_id"])
    reap(api.app.state.context.engine)
    run(request["job_id"])

    assert [(kind, each.get("run")) for kind, each in told()] == [("attempt", 2), ("failure", None)]


def test_a_worker_that_lost_its_lease_tells_of_no_attempt(
    api: TestClient, run_with: Callable[..., None], told: Any, sql: Any
) -> None:
    request = crowd(api, LEAKING)

    def reaped() -> None:
        sql(LOST, id=request["job_id"])
        reap(api.app.state.context.engine)

    run_with(request["job_id"], "write", reaped)

    assert told() == []
    assert api.get(f"/jobs/{request['job_id']}").json()["status"] == "queued"


def test_a_request_whose_worker_was_lost_too_often_is_told_as_failed(api: TestClient, told: Any, sql: Any) -> None:
    request = ask(api, "subjects", [person(1)]).json()
    sql("UPDATE job SET status = 'running', attempt = max_attempts WHERE id = :id", id=request["job_id"])
    sql("UPDATE deletion_request SET state = 'unlearning' WHERE id = :id", id=request["id"])
    sql(LOST, id=request["job_id"])

    reap(api.app.state.context.engine)
    reap(api.app.state.context.engine)

    ((kind, failure),) = told()
    assert (kind, failure["runs"]) == ("failure", 3)
    assert failure["reason"] == "Its worker was lost (attempt 3 of 3)"
    assert api.get(f"/deletion-requests/{request['id']}").json()["state"] == "failed"


def test_the_text_of_a_strangers_exception_is_not_told(
    api: TestClient, run_with: Callable[..., None], told: Any, sql: Any
) -> None:
    request = ask(api, "subjects", [person(1)]).json()
    sql("UPDATE job SET max_attempts = 1 WHERE id = :id", id=request["job_id"])

    def breaks() -> None:
        raise RuntimeError(person(1))

    run_with(request["job_id"], "read", breaks)
    sql(LOST, id=request["job_id"])
    reap(api.app.state.context.engine)

    ((_, failure),) = told()
    assert failure["reason"] == "An unforeseen RuntimeError (attempt 1 of 1)"


def test_a_request_that_was_withdrawn_is_not_told_as_failed(
    api: TestClient, run_with: Callable[..., None], told: Any
) -> None:
    request = ask(api, "subjects", [person(1)]).json()

    run_with(request["job_id"], "read", lambda: api.post(f"/deletion-requests/{request['id']}/cancel"))

    assert api.get(f"/deletion-requests/{request['id']}").json()["state"] == "cancelled"
    assert "failure" not in [kind for kind, _ in told()]    # an attempt that had ended before may stand there


def test_what_is_told_of_a_request_is_listed_with_it_once_it_has_its_place(
    api: TestClient, engine: Engine, run: Run, workshop: Any
) -> None:
    request, url = crowd(api, LEAKING), "/deletion-requests/{}/entries"
    run(request["job_id"])
    waiting = api.get(url.format(request["id"])).json()["items"]
    sequence_all(engine, workshop.keys)

    listed = api.get(url.format(request["id"])).json()["items"]

    assert waiting == []
    assert [(each["index"], each["kind"], each["state"]) for each in listed] == [
        (0, "attempt", None), (1, "failure", None)]
    for each in listed:
        envelope = api.get(each["link"]).content
        assert json.loads(payload(envelope))["predicate"] == each["predicate"]


def test_requests_are_named_in_portions_that_fit_into_an_envelope() -> None:
    ids = [UUID(int=number) for number in range(2 * append.PART + 1)]

    parts = list(append.parts(ids))

    assert [len(part) for part in parts] == [append.PART, append.PART, 1]
    assert [each for part in parts for each in part] == ids
