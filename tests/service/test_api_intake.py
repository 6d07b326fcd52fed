"""What becomes of a deletion request at the door: which rows it names, when it is due, which job it joins."""

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from service.domain.requests import due
from tests.service.conftest import Trained
from tests.service.world import ask, person
from tests.tiny import ROWS_EACH, tiny_rows


@pytest.fixture
def start(trained: Trained, tmp_path: Path) -> str:
    return trained.copied_to(tmp_path)


def test_a_model_is_trained_once_its_data_set_is_indexed(api: TestClient) -> None:
    dataset, model = api.get("/datasets/d").json(), api.get("/models/m").json()

    assert (dataset["status"], dataset["facts"]["rows"]) == ("ready", len(tiny_rows()))
    assert model["active_version"] == 1


def test_a_request_for_a_person_names_all_training_rows_of_that_person(api: TestClient) -> None:
    answer = ask(api, "subjects", [person(7)])

    request = answer.json()
    assert (answer.status_code, answer.headers["location"]) == (202, f"/deletion-requests/{request['id']}")
    assert (request["n_targets"], request["n_samples"], request["state"]) == (1, ROWS_EACH, "scheduled")


def test_an_id_that_is_said_twice_counts_once(api: TestClient) -> None:
    request = ask(api, "samples", ["row-train-7-0", "row-train-7-0", "row-train-7-1"]).json()

    assert (request["n_targets"], request["n_samples"]) == (2, 2)


def test_a_class_names_all_its_training_rows_and_no_others(api: TestClient) -> None:
    rows = [row for row in tiny_rows() if row["split"] == "train" and row["label"] == 1]

    assert ask(api, "classes", [1]).json()["n_samples"] == len(rows)


def test_a_request_is_due_within_the_legal_month_of_its_receipt(api: TestClient) -> None:
    request = ask(api, "subjects", [person(7)]).json()

    received = datetime.fromisoformat(request["received_at"])
    assert datetime.fromisoformat(request["due_at"]) == due(received)
    assert request["days_left"] == (due(received) - datetime.now(UTC)).days
    assert "Art. 12(3)" in request["due_basis"]


def test_two_requests_together_cannot_empty_a_class_that_each_alone_would_leave(api: TestClient) -> None:
    ids = [row["sample_id"] for row in tiny_rows() if row["split"] == "train" and row["label"] == 2]

    answers = [ask(api, "samples", part) for part in (ids[:10], ids[10:])]

    assert [answer.status_code for answer in answers] == [202, 422]
    assert answers[1].json()["type"].endswith("#nothing-left")


def test_a_request_ends_certified_and_the_old_version_is_superseded(
    api: TestClient, work: Callable[[], list[Any]]
) -> None:
    request = ask(api, "subjects", [person(7), person(8)]).json()

    work()

    ended = api.get(f"/deletion-requests/{request['id']}").json()
    versions = api.get("/models/m/versions").json()
    assert (ended["state"], ended["version"]) == ("certified", 2)
    assert [version["status"] for version in versions] == ["superseded", "active"]
