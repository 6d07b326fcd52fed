"""Asking for an audit of any version of a model, and following it to its report."""

from collections.abc import Callable
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest
from starlette.testclient import TestClient

from service.client import Client, ProblemError
from service.domain.report import AuditReport
from tests.service.conftest import Trained
from tests.service.world import AUDIT, ask, person, stored

pytestmark = pytest.mark.slow        # jobs from claim to end, or servers and processes of their own

PLAN: dict[str, Any] = {**AUDIT, "rungs": [{"name": "population", "conventions": False}]}
OTHER = {"version": 2, "before": 1}
TWO = PLAN | {"references": 2}
Work = Callable[[], list[UUID]]


@pytest.fixture
def start(trained: Trained, tmp_path: Path) -> str:
    return trained.copied_to(tmp_path)


@pytest.fixture
def forgotten(api: TestClient, work: Work) -> dict[str, Any]:
    """A request that version 2 has served by retraining."""
    policy = {"ladder": [{"name": "retrain"}], "audit": PLAN}
    api.put("/models/m/policy", json=policy).raise_for_status()
    request = ask(api, "subjects", [person(1)]).json()
    work()
    return request


def audit(api: TestClient, headers: dict[str, str] | None = None, **more: Any) -> Any:
    return api.post("/audits", json={"model": "m", **more}, headers=headers)


def get(api: TestClient, asked: dict[str, Any]) -> dict[str, Any]:
    return api.get(f"/audits/{asked['id']}").json()


def weights(api: TestClient, number: int) -> bytes:
    return api.get(f"/models/m/versions/{number}/weights").content


def attach(api: TestClient, number: int) -> Any:
    """Version `number`'s weights once more, as if they came from elsewhere."""
    return api.post("/models/m/versions", files={"weights": weights(api, number)})


def test_an_audit_takes_the_active_version_what_it_forgot_and_the_policys_plan_unless_told_otherwise(
    api: TestClient, work: Work, forgotten: dict[str, Any]
) -> None:
    asked = audit(api)
    queued = asked.json()
    early = api.get(f"/audits/{queued['id']}/report")
    work()
    ended = get(api, queued)

    report = AuditReport.model_validate_json(api.get(f"/audits/{queued['id']}/report").content)
    of_request = AuditReport.model_validate_json(
        api.get(f"/deletion-requests/{forgotten['id']}/audit-report").content
    )
    assert (asked.status_code, asked.headers["Location"]) == (202, f"/audits/{queued['id']}")
    assert (queued["status"], queued["verdict"], queued["n_samples"]) == ("queued", None, 3)
    assert (queued["before"], queued["version"], queued["target_kind"]) == (1, 2, None)
    assert early.status_code == 409
    assert early.json()["type"].endswith("#not-yet")
    assert (ended["status"], ended["verdict"]) == ("succeeded", report.verdict.value)
    assert ended["finished_at"] is not None
    assert (report.claim, report.subject.algorithm) == ("exact", "retrain")
    assert report.results == of_request.results
    assert report.utility == of_request.utility


def test_a_report_comes_as_html_or_pdf(api: TestClient, work: Work, forgotten: dict[str, Any]) -> None:
    asked = audit(api).json()
    work()

    html, pdf = (api.get(f"/audits/{asked['id']}/report", headers={"Accept": f"{kind}, */*;q=0.1"})
                 for kind in ("text/html", "application/pdf"))

    assert b"<html" in html.content
    assert pdf.content.startswith(b"%PDF")


def test_weights_that_were_unlearned_elsewhere_are_audited_beside_those_that_are_served(
    api: TestClient, work: Work
) -> None:
    many = [person(n) for n in range(30)]
    added = attach(api, 1)
    asked = audit(api, version=2, before=1, target={"kind": "subjects", "ids": many}, plan=TWO | {"alpha": 0.05}).json()
    work()

    versions = [(each["number"], each["status"], each["origin"]) for each in api.get("/models/m/versions").json()]
    report = api.get(f"/audits/{asked['id']}/report").json()
    assert added.status_code == 201
    assert versions == [(1, "active", "trained"), (2, "inactive", "uploaded")]
    assert api.get("/models/m").json()["active_version"] == 1
    assert asked["n_samples"] == 90
    assert report["verdict"]["value"] == "LEAK_DETECTED"       # nothing was unlearned
    assert (report["claim"], report["subject"]["algorithm"]) == ("approximate", None)


def test_a_version_that_was_added_is_passed_over_by_deletion_requests_and_by_the_default_before(
    api: TestClient, work: Work, forgotten: dict[str, Any]
) -> None:
    attach(api, 1)
    ask(api, "subjects", [person(2)])
    work()

    asked = audit(api).json()

    assert (asked["before"], asked["version"], asked["n_samples"]) == (2, 4, 3)
    assert api.get("/models/m").json()["active_version"] == 4


def test_rows_that_were_forgotten_between_two_versions_are_the_default_target(
    api: TestClient, work: Work, forgotten: dict[str, Any]
) -> None:
    ask(api, "subjects", [person(2)])
    work()

    whole = audit(api, before=1).json()
    first = audit(api, version=2).json()
    work()

    assert (whole["n_samples"], first["n_samples"]) == (6, 3)
    result = [api.get(f"/jobs/{each['job_id']}").json()["result"] for each in (whole, first)]
    assert [each["n_retain"] for each in result] == [174, 177]
    assert get(api, whole)["verdict"] is not None


def test_an_audit_neither_waits_for_a_deletion_nor_keeps_one_waiting(
    api: TestClient, work: Work, forgotten: dict[str, Any], workshop: Any
) -> None:
    from worker.jobs import run

    asked = audit(api, plan=TWO).json()
    run(workshop, UUID(asked["job_id"]))
    waits = get(api, asked)["status"]
    request = ask(api, "subjects", [person(2)]).json()
    run(workshop, UUID(request["job_id"]))

    served = api.get(f"/deletion-requests/{request['id']}").json()["state"]
    work()

    assert (waits, served) == ("waiting", "certified")
    assert get(api, asked)["status"] == "succeeded"
    assert api.get(f"/audits/{asked['id']}/report").json()["forget_set"]["n"] == 3


# ---- again, list, stop ----------------------------------------------------------------------------------------------


def test_the_same_key_gets_the_same_audit(api: TestClient, forgotten: dict[str, Any], sql: Any) -> None:
    key = {"Idempotency-Key": str(uuid4())}

    once, twice, other = (audit(api, key, **more) for more in ({}, {}, {"version": 2, "before": 1}))

    assert (once.status_code, twice.status_code, other.status_code) == (202, 202, 422)
    assert once.json() == twice.json()
    assert once.headers["Location"] == twice.headers["Location"]
    assert sql("SELECT count(*) FROM audit") == [(1,)]


def test_audits_are_listed_newest_first_in_pages(api: TestClient, forgotten: dict[str, Any]) -> None:
    ids = [audit(api).json()["id"] for _ in range(3)]

    page = api.get("/audits?page_size=2&model=m").json()
    rest = api.get(f"/audits?page_size=2&page_token={page['next_page_token']}").json()

    assert [each["id"] for each in page["items"] + rest["items"]] == ids[::-1]
    assert rest["next_page_token"] == ""
    assert api.get("/audits?page_token=x").status_code == 422
    assert api.get("/audits?model=absent").status_code == 404


def test_an_audit_that_waits_is_cancelled_with_the_training_of_its_references(
    api: TestClient, forgotten: dict[str, Any], workshop: Any, sql: Any
) -> None:
    from worker.jobs import run

    asked = audit(api, plan=TWO).json()
    run(workshop, UUID(asked["job_id"]))

    stopped = api.post(f"/audits/{asked['id']}/cancel")
    again = api.post(f"/audits/{asked['id']}/cancel")

    assert (stopped.status_code, stopped.json()["status"]) == (202, "cancelled")
    assert again.status_code == 409
    assert api.get(f"/audits/{asked['id']}/report").status_code == 409
    assert set(sql("SELECT status FROM job WHERE kind = 'reference'")) == {("cancelled",)}


# ---- what is refused ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("body", "status", "pointer"),
    [
        ({"model": "absent"}, 404, None),
        ({"version": 9}, 404, None),
        ({"before": 9}, 404, None),
        ({"version": 2, "before": 2}, 422, "/before"),
        ({"version": 1, "before": 2}, 422, "/before"),
        ({"version": 1}, 422, "/before"),
        ({"version": 3, "before": 2}, 422, "/target"),
        ({**OTHER, "target": {"kind": "subjects", "ids": ["nobody"]}}, 404, "/target/ids"),
        ({**OTHER, "target": {"kind": "classes", "ids": [7]}}, 404, "/target/ids"),
        ({"target": {"kind": "rows", "ids": [1]}}, 422, "/target"),
        ({"plan": {"rungs": [{"name": "relearning"}]}}, 422, "/plan"),
        ({"plan": {"rungs": [{"name": "population"}, {"name": "reference"}], "references": 1}}, 422, "/plan"),
        ({"version": 0}, 422, "/version"),
        ({"version": 2**31}, 422, "/version"),
        ({"colour": "red"}, 422, "/?"),
    ],
)
def test_what_cannot_be_compared_is_refused_with_a_sentence_and_changes_nothing(
    api: TestClient, sql: Any, engine: Any, body: dict[str, Any], status: int, pointer: str | None
) -> None:
    for number in (2, 3):
        sql("INSERT INTO model_version (id, model_id, number, status, origin, weights_key) SELECT gen_random_uuid(), "
            "id, :n, 'inactive', 'uploaded', 'sha256/x' FROM model", n=number)
    before = stored(engine)

    answer = audit(api, **body)

    assert answer.status_code == status
    assert len(answer.json()["detail"]) > 20
    assert pointer is None or [fault["pointer"] for fault in answer.json()["errors"]] == [pointer]
    assert stored(engine) == before
    assert "nobody" not in answer.text


def test_an_unknown_audit_is_not_found(api: TestClient) -> None:
    here = f"/audits/{uuid4()}"

    answers = [api.get(here), api.get(f"{here}/report"), api.post(f"{here}/cancel")]

    assert [answer.status_code for answer in answers] == [404, 404, 404]


def test_weights_of_another_architecture_are_no_version(api: TestClient, tmp_path: Path) -> None:
    import torch
    from safetensors.torch import save

    foreign = save({"x": torch.zeros(2)})

    answers = [
        api.post("/models/m/versions", files={"weights": foreign}),
        api.post("/models/m/versions"),
        api.post("/models/m/versions", data={"key": "sha256/aa/" + "a" * 64}),
        api.post("/models/absent/versions", files={"weights": foreign}),
    ]

    assert [answer.status_code for answer in answers] == [422, 422, 404, 404]
    assert len(api.get("/models/m/versions").json()) == 1


def test_the_client_asks_follows_and_fetches(
    base_url: str, api: TestClient, work: Work, forgotten: dict[str, Any], tmp_path: Path
) -> None:
    (tmp_path / "w.safetensors").write_bytes(weights(api, 2))
    with Client(base_url) as client:
        added = client.add_version("m", tmp_path / "w.safetensors")
        target = {"kind": "subjects", "ids": [person(1)]}
        asked = client.audit("m", version=added["number"], before=1, target=target, plan=PLAN)
        other = client.audit("m")
        stopped = client.cancel_audit(other["id"])
        with pytest.raises(ProblemError) as early:
            client.audit_report(asked["id"])
        work()
        ended = client.audit_state(asked["id"])
        listed = client.audits("m")

        assert early.value.status == 409
        assert (ended["status"], stopped["status"]) == ("succeeded", "cancelled")
        assert [each["id"] for each in listed] == [other["id"], asked["id"]]
        assert client.audits() == listed
        assert client.audit_report(asked["id"], accept="application/pdf").startswith(b"%PDF")
