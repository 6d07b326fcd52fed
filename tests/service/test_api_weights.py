"""A model that was trained elsewhere: its weights are uploaded, and it forgets like any other."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from service.settings import Settings
from service.storage import open_store
from tests.service.conftest import Trained
from tests.service.world import MODEL, ask, person
from tests.tiny import tiny_rows


@pytest.fixture
def start(trained: Trained, tmp_path: Path) -> str:
    return trained.copied_to(tmp_path)


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model of the recipe, trained on the same rows by the library alone."""
    import torch

    from service.domain.recipes import Spec, Vector
    from worker import checkpoint
    from worker.data import Rows
    from worker.training import train

    rows = [row for row in tiny_rows() if row["split"] == "train"]
    x, y = (torch.tensor([row[name] for row in rows]) for name in ("features", "label"))
    spec = Spec(family=MODEL["family"], training=MODEL["training"], input=Vector(features=x.shape[1]), classes=3)
    path = tmp_path_factory.mktemp("weights") / "model.safetensors"
    checkpoint.save(train(spec, Rows(x, y)), path)
    return path


def upload(api: TestClient, weights: Path, **more: Any) -> Any:
    form = {"model": json.dumps(MODEL | {"name": "n"} | more)}
    return api.post("/models", data=form, files={"weights": weights.read_bytes()})


def test_uploaded_weights_are_version_1_at_once(api: TestClient, weights: Path) -> None:
    answer = upload(api, weights)

    (version,) = api.get("/models/n/versions").json()
    assert (answer.status_code, answer.headers["location"]) == (202, "/models/n")
    assert (answer.json()["active_version"], answer.json()["job"]) == (1, None)
    assert (version["status"], version["origin"]) == ("active", "uploaded")
    assert api.get(version["links"]["weights"]).content == weights.read_bytes()


def test_weights_that_lie_in_the_store_are_taken_by_their_key(
    api: TestClient, weights: Path, settings: Settings
) -> None:
    key = open_store(settings.store).put(weights)

    answer = api.post("/models", json=MODEL | {"name": "n", "weights_key": key})

    assert answer.json()["active_version"] == 1
    assert api.get("/models/n/versions").json()[0]["weights_key"] == key


@pytest.mark.slow
def test_an_uploaded_model_forgets_and_is_certified(
    api: TestClient, weights: Path, work: Callable[[], Any]
) -> None:
    upload(api, weights)

    request = ask(api, "subjects", [person(1)], model="n").json()
    work()

    versions = api.get("/models/n/versions").json()
    assert api.get(f"/deletion-requests/{request['id']}").json()["state"] == "certified"
    assert [(v["origin"], v["status"]) for v in versions] == [("uploaded", "superseded"), ("unlearned", "active")]
    assert versions[0]["weights_key"] != versions[1]["weights_key"]


@pytest.mark.slow
def test_requests_of_one_model_leave_another_as_it_is(
    api: TestClient, weights: Path, work: Callable[[], Any]
) -> None:
    upload(api, weights)

    ask(api, "subjects", [person(1)], model="n")
    work()

    assert [api.get(f"/models/{name}").json()["active_version"] for name in "mn"] == [1, 2]
