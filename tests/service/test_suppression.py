"""Who was erased does not come back: a later data set that holds a row or a person of theirs is refused."""

from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine
from starlette.testclient import TestClient

from service.db import suppressions
from service.db.session import transaction
from service.errors import BadInput
from service.suppression import refuse
from tests.service.conftest import Trained
from tests.service.erasures import Erase, Run, served
from tests.service.world import files, person, stored
from tests.tiny import tiny_parquet, tiny_rows

pytestmark = pytest.mark.slow        # jobs from claim to end, or servers and processes of their own

ROWS = tiny_rows()


@pytest.fixture
def start(forgotten: Trained, tmp_path: Path) -> str:
    return forgotten.copied_to(tmp_path)


def post(api: TestClient, home: Path, rows: list[dict[str, Any]], name: str = "later") -> Any:
    file = tiny_parquet(home / "later.parquet", rows)
    return api.post("/datasets", data={"name": name}, files={"file": file.read_bytes()})



def test_before_the_erasure_the_file_may_come_again(api: TestClient, tmp_path: Path) -> None:
    assert post(api, tmp_path, ROWS).status_code == 202


def test_a_file_with_erased_rows_is_refused_with_counts_and_nothing_of_it_stays(
    api: TestClient, erase: Erase, engine: Engine, tmp_path: Path
) -> None:
    erase()
    before = stored(engine), files(tmp_path / "store")

    answer = post(api, tmp_path, ROWS)

    assert (answer.status_code, answer.json()["type"]) == (422, "/docs/problems#invalid-dataset")
    space = "an id means the same in every data set of this deployment"
    assert [(each["pointer"], each["detail"]) for each in answer.json()["errors"]] == [
        ("/columns/sample_id", f"rows that a deletion request has erased: 3; {space}"),
        ("/columns/subject_id", f"persons that a deletion request has erased: 1; {space}"),
    ]
    assert person(1) not in answer.text
    assert (stored(engine), files(tmp_path / "store")) == before


@pytest.mark.parametrize("column", ["sample_id", "subject_id"])
def test_a_person_is_refused_by_either_id(api: TestClient, erase: Erase, tmp_path: Path, column: str) -> None:
    erase()
    rows = [row | ({column: f"new-{row[column]}"} if row["subject_id"] == person(1) else {}) for row in ROWS]

    answer = post(api, tmp_path, rows)

    other = "subject_id" if column == "sample_id" else "sample_id"
    assert [each["pointer"] for each in answer.json()["errors"]] == [f"/columns/{other}"]


def test_a_file_without_the_erased_is_taken(api: TestClient, erase: Erase, work: Any, tmp_path: Path) -> None:
    erase()

    answer = post(api, tmp_path, [row for row in ROWS if row["subject_id"] != person(1)])
    work()

    assert answer.status_code == 202
    assert api.get("/datasets/later").json()["status"] == "ready"


def test_a_file_that_is_named_by_its_key_is_refused_too(
    api: TestClient, erase: Erase, sql: Any, tmp_path: Path, workshop: Any
) -> None:
    erase()
    key = workshop.store.put(tiny_parquet(tmp_path / "later.parquet"))

    answer = api.post("/datasets", data={"name": "later", "key": key})

    assert answer.status_code == 422
    assert sql("SELECT count(*) FROM dataset") == [(1,)]


def test_an_index_job_that_meets_the_erased_fails_and_nothing_of_the_file_stays(
    api: TestClient, erase: Erase, run: Run, sql: Any, tmp_path: Path
) -> None:
    made = post(api, tmp_path, ROWS[::-1]).json()
    erase()
    before = files(tmp_path / "store")

    run(made["job"]["id"])

    ended = api.get(f"/jobs/{made['job']['id']}").json()
    assert (ended["status"], ended["error"]) == ("failed", "the file holds what a deletion request has erased")
    assert api.get("/datasets/later").json()["status"] == "failed"
    ((key, dataset_id),) = sql("SELECT file_key, id FROM dataset WHERE name = 'later'")
    assert before - files(tmp_path / "store") == {key}
    assert sql("SELECT count(*) FROM sample WHERE dataset_id = :id", id=dataset_id) == [(0,)]


@pytest.mark.slow
def test_rows_of_a_class_may_come_back_and_a_sample_may_not(
    api: TestClient, run: Run, erase: Erase, sql: Any, tmp_path: Path
) -> None:
    sql("DELETE FROM job WHERE kind = 'erase'")
    api.put("/models/m/policy", json={"ladder": [{"name": "retrain"}], "audit": {"permutations": 99, "bootstrap": 99}})
    served(api, run, "classes", [2])
    erase()
    assert sql("SELECT count(*) FROM suppressed") == [(0,)]
    api.put("/models/m/policy", json={"audit": {"permutations": 99, "bootstrap": 99}})
    named = next(row["sample_id"] for row in ROWS if row["split"] == "train" and row["label"] == 0)

    served(api, run, "samples", [named])
    erase()

    assert sql("SELECT count(*) FROM suppressed") == [(1,)]
    assert post(api, tmp_path, [row for row in ROWS if row["sample_id"] != named]).status_code == 202
    assert post(api, tmp_path, ROWS, "second").status_code == 422


def test_nothing_is_read_while_nobody_is_suppressed(engine: Engine, tmp_path: Path) -> None:
    refuse(engine, b"key", tmp_path / "no-such-file.parquet")


def test_a_child_that_says_something_else_is_not_believed(
    erase: Erase, engine: Engine, tmp_path: Path
) -> None:
    erase()
    (tmp_path / "file").write_bytes(b"PAR1 nonsense")

    with transaction(engine) as tx:
        assert suppressions.any_at_all(tx)
    with pytest.raises(BadInput, match="could not be parsed"):
        refuse(engine, b"key", tmp_path / "file")
