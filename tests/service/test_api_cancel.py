"""Withdrawing a request: while it waits, while it runs, and when it is too late."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from service.settings import Settings
from tests.service.conftest import Trained
from tests.service.world import AUDIT, ask, person

pytestmark = pytest.mark.slow        # jobs from claim to end, or servers and processes of their own

RunWith = Callable[..., None]
ENDLESS = {"ladder": [{"name": "nabla_tau", "passes": 100, "batch": 1}], "audit": AUDIT}


@pytest.fixture
def start(trained: Trained, tmp_path: Path) -> str:
    return trained.copied_to(tmp_path)


@pytest.fixture
def settings(settings: Settings) -> Settings:
    """A heartbeat every tenth of a second, so that a wish to stop is soon heard."""
    return settings.model_copy(update={"lease_s": 0.3})


def cancel(api: TestClient, request: dict[str, Any]) -> Any:
    return api.post(f"/deletion-requests/{request['id']}/cancel")


def states(api: TestClient, *requests: dict[str, Any]) -> list[str]:
    return [api.get(f"/deletion-requests/{request['id']}").json()["state"] for request in requests]


def test_a_request_whose_job_waits_is_cancelled_at_once_with_its_job(api: TestClient) -> None:
    request = ask(api, "subjects", [person(1)]).json()

    answer = cancel(api, request)

    assert (answer.status_code, answer.json()["state"]) == (202, "cancelled")
    assert answer.json()["ended_at"] is not None
    assert api.get(f"/jobs/{request['job_id']}").json()["status"] == "cancelled"


def test_a_waiting_request_leaves_a_shared_job_to_the_others(api: TestClient, work: Callable[[], Any]) -> None:
    leaves, stays = (ask(api, "subjects", [person(n)]).json() for n in (1, 2))

    cancel(api, leaves)
    work()

    assert leaves["job_id"] == stays["job_id"]
    assert states(api, leaves, stays) == ["cancelled", "certified"]
    assert api.get(f"/jobs/{stays['job_id']}").json()["result"]["n_forget"] == 3


def test_a_running_job_stops_within_a_step_and_the_old_version_stays(api: TestClient, run_with: RunWith) -> None:
    api.put("/models/m/policy", json=ENDLESS)
    request = ask(api, "subjects", [person(1)]).json()
    answers = []

    run_with(request["job_id"], "read", lambda: answers.append(cancel(api, request)))

    job = api.get(f"/jobs/{request['job_id']}").json()
    assert answers[0].status_code == 202
    assert job["progress"].get("done", 0) < job["progress"].get("total", 1)
    assert (job["status"], states(api, request)) == ("cancelled", ["cancelled"])
    assert api.get(f"/deletion-requests/{request['id']}/certificate").status_code == 404
    assert api.get("/models/m").json()["active_version"] == 1


def test_a_wish_to_stop_that_was_accepted_in_the_last_moment_is_kept(api: TestClient, run_with: RunWith) -> None:
    request = ask(api, "subjects", [person(1)]).json()
    answers = []

    run_with(request["job_id"], "write", lambda: answers.append(cancel(api, request)))

    assert answers[0].status_code == 202
    assert states(api, request) == ["cancelled"]
    assert [v["number"] for v in api.get("/models/m/versions").json()] == [1]


def test_a_request_cannot_leave_a_running_job_that_it_shares(api: TestClient, run_with: RunWith) -> None:
    one, two = (ask(api, "subjects", [person(n)]).json() for n in (1, 2))
    answers = []

    run_with(one["job_id"], "read", lambda: answers.append(cancel(api, one)))

    assert answers[0].status_code == 409
    assert "2 requests" in answers[0].json()["detail"]
    assert states(api, one, two) == ["certified", "certified"]


def test_what_has_ended_cannot_be_cancelled(api: TestClient, work: Callable[[], Any]) -> None:
    certified = ask(api, "subjects", [person(1)]).json()
    work()
    cancelled = ask(api, "subjects", [person(2)]).json()
    cancel(api, cancelled)

    answers = [cancel(api, request) for request in (certified, cancelled)]

    assert [answer.status_code for answer in answers] == [409, 409]
    assert states(api, certified, cancelled) == ["certified", "cancelled"]


def test_rows_of_a_cancelled_request_can_be_asked_for_again(api: TestClient, work: Callable[[], Any]) -> None:
    cancel(api, ask(api, "subjects", [person(1)]).json())

    again = ask(api, "subjects", [person(1)]).json()
    work()

    assert states(api, again) == ["certified"]
