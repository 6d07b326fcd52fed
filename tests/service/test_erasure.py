"""What a deletion request leaves behind is erased when its grace is over, and everything else stays."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import pyarrow.parquet as pq
import pytest
import torch
from safetensors.torch import load_file
from starlette.testclient import TestClient

from service.db import jobs, reaping
from service.db.session import transaction
from tests.service.conftest import Trained
from tests.service.erasures import Erase, Run, certificate, entries, served
from tests.service.world import AUDIT, MODEL, ask, files, person
from tests.tiny import tiny_parquet, tiny_rows

pytestmark = pytest.mark.slow        # jobs from claim to end, or servers and processes of their own

ROWS = tiny_rows()
OTHER = MODEL | {"name": "other", "training": MODEL["training"] | {"seed": 1}}
SPLITS = {"train": 180, "validation": 120, "holdout": 180}


@pytest.fixture
def start(forgotten: Trained, tmp_path: Path) -> str:
    return forgotten.copied_to(tmp_path)


@pytest.fixture
def request_of(sql: Any, api: TestClient) -> dict[str, Any]:
    """The request that was served before."""
    ((request_id,),) = sql("SELECT id FROM deletion_request")
    return api.get(f"/deletion-requests/{request_id}").json()


def keys(sql: Any) -> tuple[str, str]:
    return sql("SELECT file_key, tensors_key FROM dataset WHERE name = 'd'")[0]


def file_of(sql: Any, home: Path) -> list[dict[str, Any]]:
    return pq.read_table(home / "store" / keys(sql)[0]).to_pylist()


def tensors_of(sql: Any, home: Path) -> dict[str, torch.Tensor]:
    return load_file(home / "store" / keys(sql)[1])


def erased_rows(sql: Any, dataset_id: UUID | None = None) -> list[int]:
    gone = sql("SELECT dataset_id, row FROM sample WHERE split = 4 ORDER BY row")
    return [row for known, row in gone if dataset_id in (None, known)]


# ---- what goes ------------------------------------------------------------------------------------------------------


def test_weights_that_remember_are_gone_and_are_said_to_be(api: TestClient, erase: Erase, tmp_path: Path) -> None:
    first = api.get("/models/m/versions").json()[0]

    (ended,) = erase()

    assert ended["status"] == "succeeded"
    old, new = api.get("/models/m/versions").json()
    assert (old["erased_at"] is not None, new["erased_at"]) == (True, None)
    assert not (tmp_path / "store" / first["weights_key"]).exists()
    answer = api.get(old["links"]["weights"])
    assert (answer.status_code, answer.json()["type"]) == (410, "/docs/problems#erased")
    assert api.get(new["links"]["weights"]).status_code == 200


def test_an_erased_version_is_not_audited_any_more(api: TestClient, erase: Erase, sql: Any) -> None:
    queued = api.post("/audits", json={"model": "m"}).json()
    erase()

    refused = [api.post("/audits", json={"model": "m", **more}) for more in ({}, {"version": 2, "before": 1})]

    assert [each.status_code for each in refused] == [422, 422]
    assert "weights of version 1 are erased" in refused[0].json()["detail"]
    assert sql("SELECT count(*) FROM audit") == [(1,)]
    assert queued["status"] == "queued"


def test_an_audit_that_was_queued_before_ends_with_a_sentence(api: TestClient, erase: Erase, run: Run) -> None:
    queued = api.post("/audits", json={"model": "m"}).json()
    erase()

    run(queued["job_id"])

    ended = api.get(f"/audits/{queued['id']}").json()
    assert ended["status"] == "failed"
    assert ended["error"].startswith("The weights of version 1 were erased")


def test_the_rows_of_a_person_leave_file_tensors_and_index_and_the_others_stay_as_they_are(
    api: TestClient, erase: Erase, sql: Any, tmp_path: Path
) -> None:
    before, indexed = tensors_of(sql, tmp_path), sql("SELECT * FROM sample ORDER BY row")
    gone = [i for i, row in enumerate(ROWS) if row["subject_id"] == person(1)]

    erase()

    assert file_of(sql, tmp_path) == [row for i, row in enumerate(pq_like(ROWS)) if i not in gone]
    after, rest = tensors_of(sql, tmp_path), [i for i in range(len(ROWS)) if i not in gone]
    assert all(torch.equal(after[name][rest], before[name][rest]) for name in ("x", "y"))
    assert not after["x"][gone].any()
    assert not after["y"][gone].any()
    left = sql("SELECT * FROM sample ORDER BY row")
    assert [left[i] for i in rest] == [indexed[i] for i in rest]
    assert [tuple(left[i])[1:] for i in gone] == [(i, None, None, 4, 0) for i in gone]
    seen = api.get("/datasets/d").json()
    assert (seen["erased"], seen["facts"]["subjects"]) == (3, 159)
    assert seen["facts"]["splits"] == SPLITS | {"train": 177, "erased": 3}


def pq_like(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The rows as 32 bits hold them."""
    return [row | {"features": torch.tensor(row["features"]).tolist()} for row in rows]


def test_a_person_leaves_every_split_and_a_sample_only_its_own(
    api: TestClient, run: Run, work: Any, tmp_path: Path, sql: Any, erase: Erase
) -> None:
    rows = [row | {"subject_id": row["subject_id"].replace("holdout", "train")} for row in ROWS]
    file = tiny_parquet(tmp_path / "again.parquet", [row | {"sample_id": f"again-{row['sample_id']}"} for row in rows])
    api.post("/datasets", data={"name": "d2"}, files={"file": file.read_bytes()})
    api.post("/models", json=MODEL | {"name": "m2", "dataset": "d2"})
    work()
    for kind, ids in (("subjects", [person(2)]), ("samples", ["again-row-train-3-0"])):
        run(api.post("/deletion-requests", json={"model": "m2", "target": {"kind": kind, "ids": ids}}).json()["job_id"])

    erase()

    named = [i for i, row in enumerate(rows) if row["subject_id"] == person(2) or row["sample_id"] == "row-train-3-0"]
    assert sorted(ROWS[i]["split"] for i in named) == ["holdout"] * 3 + ["train"] * 4
    second = sql("SELECT id FROM dataset WHERE name = 'd2'")[0][0]
    assert erased_rows(sql, second) == named
    assert api.get("/datasets/d2").json()["erased"] == 7


@pytest.mark.slow
def test_a_second_erasure_takes_its_rows_out_of_the_file_that_the_first_has_left(
    api: TestClient, run: Run, erase: Erase, sql: Any, tmp_path: Path
) -> None:
    erase()
    request = served(api, run, "subjects", [person(59), person(0)])
    erase()

    gone = {person(number) for number in (0, 1, 59)}
    assert file_of(sql, tmp_path) == [row for row in pq_like(ROWS) if row["subject_id"] not in gone]
    assert erased_rows(sql) == [i for i, row in enumerate(ROWS) if row["subject_id"] in gone]
    assert api.get(f"/deletion-requests/{request['id']}").json()["version"] == 3
    assert len(entries(sql)) == 2


# ---- what is said of it ---------------------------------------------------------------------------------------------


def test_the_ledger_says_once_what_was_erased_and_the_request_too(
    api: TestClient, erase: Erase, sql: Any, request_of: dict[str, Any], tmp_path: Path
) -> None:
    promised, before = certificate(api, request_of)["follow_up"], files(tmp_path / "store")

    (ended,) = erase()

    (entry,) = entries(sql)
    gone = {Path(name).name for name in before - files(tmp_path / "store")}
    assert {thing["sha256"] for thing in entry["erased"]} == gone
    assert sorted(entry["erased"], key=str) == sorted(promised["to_erase"], key=str)
    assert {thing["kind"] for thing in entry["erased"]} == {"weights", "dataset-file", "dataset-rows"}
    assert (entry["request_ids"], entry["job_id"]) == ([request_of["id"]], ended["id"])
    assert (entry["rows"], entry["suppressed"], entry["kept"]) == (3, 4, [])
    assert any("write-ahead logs" in limit for limit in entry["limits"])
    told = sql("SELECT data FROM request_event WHERE kind = 'erased'")
    assert told == [({"objects": 3, "rows": 3, "kept": 0},)]
    listed = "SELECT kind FROM ledger_inbox JOIN entry_of_request USING (entry_id) ORDER BY id DESC LIMIT 2"
    assert sql(listed) == [("erasure",), ("certificate",)]


def test_the_certificate_promises_when_and_that_rows_will_not_come_back(
    api: TestClient, sql: Any, request_of: dict[str, Any]
) -> None:
    follow_up = certificate(api, request_of)["follow_up"]

    ((due,),) = sql("SELECT not_before FROM job WHERE kind = 'erase'")
    assert datetime.fromisoformat(follow_up["erase_by"]) == due
    assert timedelta(days=6) < due - datetime.now(UTC) < timedelta(days=7)
    assert follow_up["suppressed"] is True


# ---- when -----------------------------------------------------------------------------------------------------------


def test_before_the_grace_is_over_nothing_is_sent_and_nobody_gets_the_job(
    api: TestClient, sql: Any, run: Run, engine: Any
) -> None:
    ((job_id,),) = sql("SELECT id FROM job WHERE kind = 'erase'")

    with transaction(engine) as tx:
        reaping.resend(tx, silent_for=timedelta(minutes=2))
    run(job_id)

    assert sql("SELECT status, attempt FROM job WHERE kind = 'erase'") == [("queued", 0)]
    assert sql("SELECT count(*) FROM outbox WHERE job_id = :id", id=job_id) == [(0,)]


def test_the_scheduler_sends_the_job_when_its_time_has_come(sql: Any, engine: Any) -> None:
    ((job_id,),) = sql("UPDATE job SET not_before = clock_timestamp() WHERE kind = 'erase' RETURNING id")

    with transaction(engine) as tx:
        reaping.resend(tx, silent_for=timedelta(minutes=2))

    assert sql("SELECT count(*) FROM outbox WHERE job_id = :id", id=job_id) == [(1,)]


@pytest.mark.slow
@pytest.mark.parametrize(("grace", "days"), [(0, 0), (90, None)])
def test_the_legal_date_ends_a_grace_and_no_grace_is_at_once(
    api: TestClient, run: Run, sql: Any, grace: int, days: int | None
) -> None:
    sql("DELETE FROM job WHERE kind = 'erase'")
    api.put("/models/m/policy", json={"audit": AUDIT, "erasure": {"grace_days": grace}}).raise_for_status()

    request = served(api, run, "subjects", [person(2)])

    job_id, due = sql("SELECT id, not_before FROM job WHERE kind = 'erase'")[0]
    sent = sql("SELECT count(*) > 0 FROM outbox WHERE job_id = :id", id=job_id)[0][0]
    if days is None:
        assert (due, sent) == (datetime.fromisoformat(request["due_at"]), False)
    else:
        assert (due <= datetime.now(UTC), sent) == (True, True)


# ---- what stays -----------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_policy_may_keep_the_rows_and_the_ledger_says_so(
    api: TestClient, run: Run, sql: Any, erase: Erase, tmp_path: Path
) -> None:
    sql("DELETE FROM job WHERE kind = 'erase'")
    api.put("/models/m/policy", json={"audit": AUDIT, "erasure": {"rows": False}}).raise_for_status()
    before, request = keys(sql), served(api, run, "subjects", [person(2)])

    erase()

    (entry,) = entries(sql)
    assert keys(sql) == before
    assert [thing["kind"] for thing in entry["erased"]] == ["weights", "weights"]
    assert [(each["kind"], each["count"]) for each in entry["kept"]] == [("dataset-rows", 3)]
    assert "policy" in entry["kept"][0]["why"]
    assert (entry["rows"], sql("SELECT count(*) FROM suppressed")) == (0, [(0,)])
    assert certificate(api, request)["follow_up"]["suppressed"] is False


@pytest.mark.slow
def test_rows_that_another_model_still_knows_stay_until_that_has_forgotten_them(
    api: TestClient, run: Run, work: Any, sql: Any, erase: Erase
) -> None:
    api.post("/models", json=OTHER).raise_for_status()
    work()
    erase()
    first = erased_rows(sql)

    run(api.post("/deletion-requests", json={"model": "other", "target": {"kind": "subjects", "ids": [person(1)]}})
        .json()["job_id"])
    erase()

    kept, gone = entries(sql)
    assert (first, kept["rows"], gone["rows"]) == ([], 0, 3)
    assert (kept["suppressed"], gone["suppressed"]) == (4, 0)
    assert [(each["kind"], each["count"]) for each in kept["kept"]] == [("dataset-rows", 3)]
    assert len(erased_rows(sql)) == 3
    assert gone["kept"] == []


def test_rows_that_an_open_request_names_stay_until_it_has_ended(
    api: TestClient, run: Run, sql: Any, erase: Erase
) -> None:
    again = ask(api, "samples", ["row-train-1-0"]).json()

    erase()

    (entry,) = entries(sql)
    assert (entry["rows"], entry["kept"][0]["count"], len(erased_rows(sql))) == (2, 1, 2)
    run(again["job_id"])
    erase()
    assert len(erased_rows(sql)) == 3


@pytest.mark.slow
def test_an_object_that_something_else_names_stays_and_is_said_to_be_shared(
    api: TestClient, sql: Any, erase: Erase, work: Any, tmp_path: Path
) -> None:
    file_key, tensors_key = keys(sql)
    api.post("/datasets", data={"name": "twin", "key": file_key}).raise_for_status()
    work()

    erase()

    (entry,) = entries(sql)
    assert [(each["kind"], each["count"]) for each in entry["kept"]] == [("dataset-file", 1), ("dataset-rows", 1)]
    assert {str(Path(key)) for key in (file_key, tensors_key)} <= files(tmp_path / "store")
    assert sql("SELECT count(*) FROM purge WHERE outcome = 'shared'") == [(2,)]


def test_an_object_that_somebody_deleted_before_is_not_claimed(
    api: TestClient, sql: Any, erase: Erase, tmp_path: Path
) -> None:
    (tmp_path / "store" / api.get("/models/m/versions").json()[0]["weights_key"]).unlink()

    erase()

    (entry,) = entries(sql)
    assert {thing["kind"] for thing in entry["erased"]} == {"dataset-file", "dataset-rows"}
    assert sql("SELECT kind FROM purge WHERE outcome = 'absent'") == [("weights",)]


def test_models_of_a_rewritten_data_set_are_made_without_the_rows(
    api: TestClient, run: Run, erase: Erase, workshop: Any
) -> None:
    from worker.jobs.material import material, plan

    erase()
    job = api.post("/models", json=MODEL | {"name": "later"}).json()["job"]["id"]

    with transaction(workshop.engine) as tx:
        task = plan(workshop, jobs.get(tx, UUID(job)))

    assert len(material(workshop, task).retain) == 177
    run(job)
    assert api.get("/models/later").json()["active_version"] == 1
