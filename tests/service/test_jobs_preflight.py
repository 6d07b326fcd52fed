"""A rung whose ascent cannot lead to forgetting is refused before its first step, and its numbers are disclosed."""

from collections.abc import Callable
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from starlette.testclient import TestClient

from tests.service.conftest import Trained
from tests.service.test_jobs_run import get, result, statement
from tests.service.world import AUDIT, ask, person

pytestmark = pytest.mark.slow        # jobs from claim to end, or servers and processes of their own

PLAIN = {"name": "neg_grad"}
Work = Callable[[], list[UUID]]


@pytest.fixture
def start(trained: Trained, tmp_path: Path) -> str:
    return trained.copied_to(tmp_path)


def forgotten(api: TestClient, work: Work, *ladder: dict[str, Any]) -> dict[str, Any]:
    api.put("/models/m/policy", json={"ladder": ladder, "audit": AUDIT}).raise_for_status()
    request = ask(api, "subjects", [person(n) for n in range(12)]).json()
    work()
    return request


def test_plain_ascent_is_refused_and_the_next_rung_taken(api: TestClient, work: Work) -> None:
    request = forgotten(api, work, PLAIN, {"name": "retrain"})

    first, second = result(api, request)["attempts"]
    refused, published = statement(api, request)["predicate"]["procedure"]["attempts"]
    assert [each["outcome"] for each in (first, second, refused, published)] == ["refused", "published"] * 2
    assert first["preflight"]["verdict"] == "refuse"
    assert "refuse" in {check["verdict"] for check in first["preflight"]["checks"]}
    assert second["preflight"] is None
    assert (refused["seconds"], refused["verdict"]) == (0, None)
    assert refused["headline"].keys() == {
        check["name"] for check in first["preflight"]["checks"] if check["value"] is not None
    }


def test_ascent_with_a_target_is_begun_and_its_preflight_kept(api: TestClient, work: Work) -> None:
    request = forgotten(api, work, {"name": "nabla_tau"}, {"name": "retrain"})

    (said, *_) = statement(api, request)["predicate"]["procedure"]["attempts"]
    assert result(api, request)["attempts"][0]["preflight"]["verdict"] in {"ok", "warn"}
    assert said["outcome"] != "refused"
    assert {"auc_after", "G1_loss_gap", "G4_collateral"} <= said["headline"].keys()


def test_a_ladder_of_refused_rungs_publishes_nothing(api: TestClient, work: Work) -> None:
    request = forgotten(api, work, PLAIN)

    assert get(api, request)["state"] == "failed"
