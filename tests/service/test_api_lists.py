"""Reading: lists, pages, filters, one of a kind, weights, policy and catalogue."""

from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from starlette.testclient import TestClient

from service.domain.policy import Policy
from service.domain.recipes import PRESETS
from tests.service.conftest import Trained
from tests.service.world import AUDIT, ask, person

N = 25


@pytest.fixture
def start(trained: Trained, tmp_path: Path) -> str:
    return trained.copied_to(tmp_path)


@pytest.fixture
def many(api: TestClient) -> list[dict[str, Any]]:
    """25 requests, newest first; every fifth is cancelled."""
    made = [ask(api, "subjects", [person(n)], external_id=f"case-{n}").json() for n in range(N)]
    for request in made[::5]:
        api.post(f"/deletion-requests/{request['id']}/cancel")
    return made[::-1]


def pages(api: TestClient, size: int, **filters: str) -> list[list[str]]:
    found, token = [], ""
    while True:
        page = api.get("/deletion-requests", params={"page_size": size, "page_token": token} | filters).json()
        found.append([item["external_id"] for item in page["items"]])
        token = page["next_page_token"]
        if not token:
            return found


def test_requests_are_listed_newest_first(api: TestClient, many: list[dict[str, Any]]) -> None:
    listed = api.get("/deletion-requests").json()

    assert [item["id"] for item in listed["items"]] == [request["id"] for request in many]
    assert listed["next_page_token"] == ""


def test_pages_hold_each_request_once_whatever_their_size(api: TestClient, many: list[dict[str, Any]]) -> None:
    found = {size: pages(api, size) for size in (1, 4, 5, 24, 25, 26)}

    for size, cut in found.items():
        assert [name for page in cut for name in page] == [request["external_id"] for request in many]
        assert [len(page) for page in cut] == [size] * (N // size) + ([N % size] if N % size else [])


def test_a_filter_by_state_pages_only_what_is_in_that_state(api: TestClient, many: list[dict[str, Any]]) -> None:
    cancelled = [name for page in pages(api, 2, state="cancelled") for name in page]
    scheduled = [name for page in pages(api, 7, state="scheduled") for name in page]

    assert cancelled == [f"case-{n}" for n in (20, 15, 10, 5, 0)]
    assert Counter(cancelled + scheduled) == Counter(request["external_id"] for request in many)


def test_a_filter_by_model_shows_no_other_model(api: TestClient, many: list[dict[str, Any]], sql: Any) -> None:
    sql("INSERT INTO model (id, name, dataset_id, spec, policy) "
        "SELECT gen_random_uuid(), 'other', dataset_id, spec, policy FROM model")

    counts = {name: len(pages(api, 100, model=name)[0]) for name in ("m", "other")}

    assert counts == {"m": N, "other": 0}
    assert api.get("/deletion-requests?model=absent").status_code == 404


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(token=st.text(st.characters(min_codepoint=32, max_codepoint=0x2FF), min_size=1, max_size=60))
def test_no_page_token_of_a_strangers_making_is_an_error_of_ours(api: TestClient, token: str) -> None:
    answer = api.get("/deletion-requests", params={"page_token": token})

    assert answer.status_code in (200, 422)


def test_one_request_is_what_the_list_says_of_it(api: TestClient, many: list[dict[str, Any]]) -> None:
    listed = api.get("/deletion-requests?page_size=1").json()["items"][0]

    assert api.get(listed["links"]["self"]).json() == listed


def test_links_of_a_request_lead_somewhere(api: TestClient) -> None:
    request = ask(api, "subjects", [person(1)]).json()

    statuses = {name: api.get(link).status_code for name, link in request["links"].items() if name != "events"}

    assert statuses == {"self": 200, "job": 200, "audit-report": 409, "certificate": 409, "bundle": 409, "entries": 200}


def test_what_does_not_exist_yet_says_when_to_ask_again(api: TestClient) -> None:
    request = ask(api, "subjects", [person(1)]).json()

    answer = api.get(request["links"]["certificate"])

    assert answer.headers["retry-after"] == "1"
    assert answer.json()["type"].endswith("#not-yet")


def test_a_job_tells_kind_status_and_attempts(api: TestClient) -> None:
    request = ask(api, "subjects", [person(1)]).json()

    job = api.get(f"/jobs/{request['job_id']}").json()

    assert (job["kind"], job["status"], job["attempt"], job["max_attempts"]) == ("unlearn", "queued", 0, 3)
    assert (job["progress"], job["result"], job["error"]) == ({}, {}, None)


@pytest.mark.parametrize(
    "path",
    [
        "/datasets/absent", "/models/absent", "/models/absent/versions", "/models/m/versions/2/weights",
        "/jobs/{id}", "/deletion-requests/{id}", "/deletion-requests/{id}/events", "/deletion-requests/{id}/bundle",
        "/deletion-requests/{id}/certificate", "/deletion-requests/{id}/audit-report", "/ledger/entries/0", "/absent",
    ],
)
def test_what_is_not_there_is_a_404_with_a_problem(api: TestClient, path: str) -> None:
    answer = api.get(path.format(id="00000000-0000-4000-8000-000000000000"))

    assert answer.status_code == 404
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["status"] == 404


def test_weights_come_as_they_lie_in_the_store_and_can_be_loaded(api: TestClient, tmp_path: Path) -> None:
    from service.domain.recipes import Spec
    from worker import checkpoint

    version = api.get("/models/m/versions").json()[0]

    answer = api.get(version["links"]["weights"])

    (tmp_path / "w").write_bytes(answer.content)
    assert answer.content == (tmp_path / "store" / version["weights_key"]).read_bytes()
    assert "m-v1.safetensors" in answer.headers["content-disposition"]
    model = checkpoint.load(Spec.model_validate(api.get("/models/m").json()["spec"]), tmp_path / "w")
    assert checkpoint.digest(model) == version["weights_key"].rsplit("/", 1)[-1]


def test_a_policy_is_replaced_as_a_whole(api: TestClient) -> None:
    policy = {"ladder": [{"name": "retrain"}], "audit": AUDIT | {"margin": 0.1}}

    answer = api.put("/models/m/policy", json=policy)

    expected = Policy.model_validate(policy).model_dump(mode="json")
    assert answer.status_code == 200
    assert answer.json() == expected == api.get("/models/m").json()["policy"]


def test_the_catalogue_lists_the_whole_menu_with_bounds_and_defaults(api: TestClient) -> None:
    menu = api.get("/catalogue").json()

    named = {kind: set(menu[kind]["discriminator"]["mapping"]) for kind in ("methods", "masks", "augmentations")}
    assert {"mlp", "vit_tiny", "text_transformer"} <= set(menu["families"]["discriminator"]["mapping"])
    assert named["methods"] == {
        "nabla_tau", "fine_tune", "neg_grad", "neg_grad_plus", "random_label", "scrub", "bad_teacher", "ssd",
        "l1_sparse", "retrain",
    }
    assert named["masks"] == {"none", "and", "prob", "focus", "saliency", "opt"}
    assert named["augmentations"] == {"none", "crop_flip", "trivial", "randaugment", "cutout", "mixup"}
    assert menu["training"]["properties"]["epochs"]["default"] == 30


def test_the_catalogue_names_presets_and_says_which_formulas_are_no_papers(api: TestClient) -> None:
    presets = api.get("/catalogue").json()["presets"]

    assert {"salun", "paper:salun", "paper:nabla-tau", "paper:feasible-updates"} <= presets.keys()
    assert "random_label" in presets["salun"]["about"]
    assert presets["paper:salun"]["method"]["mask"]["name"] == "saliency"
    assert all(PRESETS[name].method.model_dump(mode="json") == told["method"] for name, told in presets.items())


def test_a_service_with_a_current_database_is_ready(api: TestClient) -> None:
    assert api.get("/livez").json() == {"status": "ok"}
    assert api.get("/readyz").json()["status"] == "ok"


def test_a_database_at_another_migration_makes_it_not_ready(api: TestClient, sql: Any) -> None:
    sql("UPDATE alembic_version SET version_num = 'older'")

    answer = api.get("/readyz")

    assert answer.status_code == 503
    assert answer.headers["content-type"] == "application/problem+json"
