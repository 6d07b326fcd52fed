"""Architectures of one's own over HTTP: a program is sent as JSON; a factory's package has to be listed."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save
from starlette.testclient import TestClient

from service.api.app import create_app
from service.settings import Settings
from tests.service.conftest import Trained
from tests.service.world import MODEL, ask, person
from tests.tiny import CLASSES, FEATURES

pytestmark = pytest.mark.slow        # jobs from claim to end, or servers and processes of their own

NETS = """
from torch import nn

def net(shape, classes):
    return nn.Sequential(nn.Linear(shape.features, 32), nn.ReLU(), nn.Linear(32, classes))
"""
HIDDEN = {"op": "aten.linear.default", "args": {"input": {"result": 0}, "weight": {"tensor": "a"}}}
ACTIVE = {"op": "aten.relu.default", "args": {"self": {"result": 1}}}
HEAD = {"op": "aten.linear.default", "args": {"input": {"result": 2}, "weight": {"tensor": "b"}}}


def program(features: int = FEATURES) -> dict[str, Any]:
    tensors = [
        {"name": "a", "kind": "parameter", "shape": [32, features]},
        {"name": "b", "kind": "parameter", "shape": [CLASSES, 32]},
    ]
    graph = {"input": {"shape": [features]}, "tensors": tensors, "nodes": [HIDDEN, ACTIVE, HEAD]}
    return {"name": "exported", "graph": graph | {"output": 3, "outputs": CLASSES}}


def factory(of: str = "expunge_http_nets:net") -> dict[str, Any]:
    return {"name": "python", "factory": of}


@pytest.fixture
def start(trained: Trained, tmp_path: Path) -> str:
    return trained.copied_to(tmp_path)


@pytest.fixture
def listing(settings: Settings) -> Iterator[TestClient]:
    """The interface of an operator who has listed a package."""
    app = create_app(settings.model_copy(update={"architectures": "other, expunge_http_nets"}))
    with TestClient(app) as api:
        yield api
    app.state.context.engine.dispose()


def upload(api: TestClient, family: dict[str, Any], weights: dict[str, np.ndarray]) -> Any:
    form = {"model": json.dumps(MODEL | {"name": "n", "family": family})}
    return api.post("/models", data=form, files={"weights": save(weights)})


def test_a_program_is_trained_and_forgets(api: TestClient, work: Callable[[], Any]) -> None:
    answer = api.post("/models", json=MODEL | {"name": "n", "family": program()})
    work()

    request = ask(api, "subjects", [person(1)], model="n").json()
    work()

    assert answer.status_code == 202
    assert api.get(f"/deletion-requests/{request['id']}").json()["state"] == "certified"
    assert [v["origin"] for v in api.get("/models/n/versions").json()] == ["trained", "unlearned"]


def test_weights_of_a_program_are_those_that_it_names(api: TestClient) -> None:
    a, b = np.ones((32, FEATURES), np.float32), np.ones((CLASSES, 32), np.float32)

    refused = upload(api, program(), {"a": a})
    taken = upload(api, program(), {"a": a, "b": b})

    assert (refused.status_code, refused.json()["errors"][0]["pointer"]) == (422, "/tensors/b")
    assert taken.json()["active_version"] == 1


def test_a_program_for_other_rows_is_refused(api: TestClient) -> None:
    answer = api.post("/models", json=MODEL | {"name": "n", "family": program(FEATURES + 1)})

    assert answer.status_code == 422
    assert answer.json()["errors"][0]["pointer"] == "/family/graph"
    assert f"[{FEATURES + 1}]" in answer.json()["detail"]


def test_a_factory_of_a_package_that_is_not_listed_is_refused(api: TestClient) -> None:
    answer = api.post("/models", json=MODEL | {"name": "n", "family": factory("os:system")})

    assert answer.status_code == 422
    assert answer.json()["errors"][0]["pointer"] == "/family/factory"
    assert "EXPUNGE_ARCHITECTURES" in answer.json()["detail"]
    assert api.get("/models/n").status_code == 404


@pytest.mark.parametrize("name", ["net", "a:b:c", "a.b:", ":net", "a:b.c", "a/b:net", "../a:net"])
def test_what_names_no_factory_is_refused(listing: TestClient, name: str) -> None:
    assert listing.post("/models", json=MODEL | {"name": "n", "family": factory(name)}).status_code == 422


def test_weights_of_a_factorys_module_need_to_be_finite_only(listing: TestClient) -> None:
    odd = np.array([np.nan, 1], np.float32)

    refused = upload(listing, factory(), {"anything": odd})
    taken = upload(listing, factory(), {"anything": odd[1:]})

    assert (refused.status_code, refused.json()["errors"][0]["pointer"]) == (422, "/tensors/anything")
    assert taken.json()["active_version"] == 1


def test_a_listed_factory_is_trained_and_forgets(
    listing: TestClient, work: Callable[[], Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from worker import trust

    (tmp_path / "expunge_http_nets.py").write_text(NETS)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(trust, "_trusted", {"expunge_http_nets"})
    listing.post("/models", json=MODEL | {"name": "n", "family": factory()})
    work()

    request = ask(listing, "subjects", [person(1)], model="n").json()
    work()

    assert listing.get(f"/deletion-requests/{request['id']}").json()["state"] == "certified"
