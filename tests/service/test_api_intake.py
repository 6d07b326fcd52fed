"""From a data set to a scheduled deletion request, through the HTTP interface."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from tests.tiny import MODEL

Work = Callable[[], list[Any]]


@pytest.fixture
def model(api: TestClient, work: Work, tiny: Path) -> TestClient:
    """An API with data set `d` and a trained model `m`."""
    with tiny.open("rb") as file:
        assert api.post("/datasets", data={"name": "d"}, files={"file": file}).status_code == 202
    assert api.post("/models", json=MODEL).status_code == 202
    work()
    return api


def ask(api: TestClient, kind: str, ids: list[Any], **more: Any) -> Any:
    return api.post("/deletion-requests", json={"model": "m", "target": {"kind": kind, "ids": ids}, **more})


def test_a_model_is_trained_once_its_data_set_is_indexed(model: TestClient) -> None:
    dataset, trained = model.get("/datasets/d").json(), model.get("/models/m").json()

    assert dataset["status"] == "ready"
    assert trained["active_version"] == 1


def test_a_request_for_a_person_names_all_training_rows_of_that_person(model: TestClient) -> None:
    answer = ask(model, "subjects", ["person-train-7"])

    assert answer.status_code == 202
    assert answer.headers["location"] == f"/deletion-requests/{answer.json()['id']}"
    assert answer.json()["n_samples"] == 3
    assert answer.json()["state"] == "scheduled"


def test_a_request_ends_certified_and_the_old_version_is_superseded(model: TestClient, work: Work) -> None:
    request = ask(model, "subjects", ["person-train-7", "person-train-8"]).json()

    work()

    ended = model.get(f"/deletion-requests/{request['id']}").json()
    versions = model.get("/models/m/versions").json()
    assert ended["state"] == "certified"
    assert ended["version"] == 2
    assert [version["status"] for version in versions] == ["superseded", "active"]
