"""Canaries: planted by fair coins before any training, forgotten on request, and never where they do not belong."""

import base64
import json
import re
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from typing import Any
from uuid import UUID

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from sqlalchemy import Engine
from starlette.testclient import TestClient

from service.db import canaries
from service.db.session import transaction
from service.domain.canaries import sample_id
from service.domain.certificates import PLANTED
from service.domain.commitments import reference
from tests.service.world import MODEL, ask, person
from tests.tiny import PERSONS, ROWS_EACH, tiny_parquet, tiny_rows

pytestmark = pytest.mark.slow        # jobs from claim to end, or servers and processes of their own

TRAIN_ROWS, ALL_ROWS = PERSONS["train"] * ROWS_EACH, sum(PERSONS.values()) * ROWS_EACH
M = 60
Work = Callable[[], list[UUID]]
Sql = Callable[..., Any]


@pytest.fixture
def indexed(api: TestClient, work: Work, tiny: Path) -> TestClient:
    api.post("/datasets", data={"name": "d"}, files={"file": tiny.read_bytes()})
    work()
    return api


@pytest.fixture
def planted(indexed: TestClient, work: Work) -> TestClient:
    assert plant(indexed).status_code == 202
    work()
    return indexed


def plant(api: TestClient, m: int = M, **more: Any) -> Any:
    return api.post("/datasets/d/canaries", json={"m": m, **more})


def tensors(api: TestClient, workshop: Any) -> dict[str, torch.Tensor]:
    """The rows of data set `d`, read by another reader than ours."""
    with transaction(workshop.engine) as tx:
        from service.db import datasets

        key = datasets.get(tx, "d").tensors_key
    path = workshop.settings.home / "rows.safetensors"
    path.unlink(missing_ok=True)
    workshop.store.fetch(key, path)
    return load_file(path)


# ---- planting -------------------------------------------------------------------------------------------------------


def test_a_canary_repeats_a_training_row_under_another_label(planted: TestClient, workshop: Any, sql: Sql) -> None:
    rows = tensors(planted, workshop)

    found = sql("SELECT c.row, c.base_row, s.label, b.label, b.split FROM canary c"
                " JOIN sample s USING (dataset_id, row) JOIN sample b ON b.dataset_id = c.dataset_id"
                " AND b.row = c.base_row ORDER BY c.row")

    assert [row for row, *_ in found] == list(range(ALL_ROWS, ALL_ROWS + M))
    assert len({base for _, base, *_ in found}) == M
    for row, base, label, true, split in found:
        assert split == 0
        assert label != true
        assert rows["y"][row] == label
        assert rows["y"][base] == true
        assert torch.equal(rows["x"][row], rows["x"][base])


def test_the_rows_of_the_file_stay_what_they_were(indexed: TestClient, work: Work, workshop: Any) -> None:
    before = tensors(indexed, workshop)

    plant(indexed)
    work()

    after = tensors(indexed, workshop)
    assert all(torch.equal(after[name][:ALL_ROWS], before[name]) for name in ("x", "y"))
    assert len(after["x"]) == len(after["y"]) == ALL_ROWS + M


def test_the_included_are_training_rows_and_the_others_of_no_split_that_is_used(planted: TestClient, sql: Sql) -> None:
    told, facts = planted.get("/datasets/d/canaries").json(), planted.get("/datasets/d").json()["facts"]

    train = sql("SELECT count(*) FROM canary c JOIN sample s USING (dataset_id, row) WHERE included AND split = 0")
    aside = sql("SELECT count(*) FROM canary c JOIN sample s USING (dataset_id, row) WHERE NOT included AND split = 3")

    assert (told["m"], told["included"]) == (M, len(told["ids"]))
    assert (train[0][0], aside[0][0]) == (told["included"], M - told["included"])
    assert facts["rows"] == ALL_ROWS + M == sum(facts["splits"].values())
    assert facts["splits"]["train"] == TRAIN_ROWS + told["included"]


def test_the_names_that_are_told_are_those_in_the_index(planted: TestClient, workshop: Any, sql: Sql) -> None:
    told = planted.get("/datasets/d/canaries").json()["ids"]

    found = sql("SELECT sample_ref FROM sample JOIN canary USING (dataset_id, row) WHERE included")

    assert all(re.fullmatch(r"expunge-canary-\d{6}", each) for each in told)
    assert {reference(workshop.keys.index_key, "sample", each) for each in told} == {bytes(ref) for (ref,) in found}


def test_rows_and_labels_follow_the_seed_and_coins_do_not(api: TestClient, work: Work, tiny: Path, sql: Sql) -> None:
    coins: dict[str, list[bool]] = {}
    chosen: dict[str, list[tuple[int, int]]] = {}
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        api.post("/datasets", data={"name": name}, files={"file": tiny.read_bytes()})
        work()
        api.post(f"/datasets/{name}/canaries", json={"m": M, "seed": seed})
        work()
        found = sql("SELECT base_row, s.label, included FROM canary JOIN sample s USING (dataset_id, row)"
                    " JOIN dataset d ON d.id = dataset_id WHERE d.name = :name ORDER BY row", name=name)
        chosen[name] = [(base, label) for base, label, _ in found]
        coins[name] = [coin for *_, coin in found]

    assert chosen["a"] == chosen["b"] != chosen["c"]
    assert coins["a"] != coins["b"]       # by chance once in 2^60


def test_the_coins_are_fair(planted: TestClient, work: Work, api: TestClient, tiny: Path, sql: Sql) -> None:
    for k in range(5):
        api.post("/datasets", data={"name": f"d{k}"}, files={"file": tiny.read_bytes()})
        work()
        api.post(f"/datasets/d{k}/canaries", json={"m": TRAIN_ROWS})
    work()

    n, heads = sql("SELECT count(*), count(*) FILTER (WHERE included) FROM canary")[0]

    assert n == M + 5 * TRAIN_ROWS
    assert abs(heads - n / 2) < 5 * (n / 4) ** 0.5       # fails once in 1.7 million runs


def test_no_log_and_no_job_tells_a_coin(indexed: TestClient, work: Work, capfd: Any, sql: Sql) -> None:
    plant(indexed)
    capfd.readouterr()

    work()

    out, err = capfd.readouterr()
    assert "canary" not in out + err
    assert "included" not in out + err
    assert sql("SELECT result, payload FROM job WHERE kind = 'canaries'") == [({"m": M}, {"m": M, "seed": 0})]


# ---- when it is too late, or too much -------------------------------------------------------------------------------


def test_canaries_are_refused_once_a_model_is_registered(indexed: TestClient) -> None:
    indexed.post("/models", json=MODEL)

    answer = plant(indexed)

    assert (answer.status_code, answer.json()["type"]) == (409, "/docs/problems#conflict")
    assert "model" in answer.json()["detail"]


def test_canaries_are_refused_while_the_data_set_is_indexed(api: TestClient, tiny: Path) -> None:
    api.post("/datasets", data={"name": "d"}, files={"file": tiny.read_bytes()})

    answer = plant(api)

    assert answer.status_code == 409
    assert "indexing" in answer.json()["detail"]


@pytest.mark.parametrize("finished", [False, True])
def test_canaries_are_planted_once(indexed: TestClient, work: Work, finished: bool) -> None:
    plant(indexed)
    if finished:
        work()

    answer = plant(indexed)

    assert answer.status_code == 409
    assert "already" in answer.json()["detail"]


def test_there_are_not_more_canaries_than_training_rows(indexed: TestClient) -> None:
    answer = plant(indexed, TRAIN_ROWS + 1)

    assert answer.status_code == 422
    assert answer.json()["errors"][0]["pointer"] == "/m"


def test_a_file_that_uses_the_names_of_canaries_is_refused(api: TestClient, work: Work, tmp_path: Path) -> None:
    rows = tiny_rows()
    rows[-1]["sample_id"] = sample_id(3)
    file = tiny_parquet(tmp_path / "named.parquet", rows)
    api.post("/datasets", data={"name": "d"}, files={"file": file.read_bytes()})
    work()

    assert plant(api).status_code == 409


@pytest.mark.parametrize(("body", "status"), [({"m": 9}, 422), ({"m": 20_001}, 422), ({"n": 10}, 422), ({}, 422)])
def test_a_bad_number_of_canaries_is_refused(indexed: TestClient, body: dict[str, int], status: int) -> None:
    assert indexed.post("/datasets/d/canaries", json=body).status_code == status      # {}: 1,000 of 180 rows


def test_canaries_of_no_data_set_are_not_found(api: TestClient) -> None:
    assert (plant(api).status_code, api.get("/datasets/d/canaries").status_code) == (404, 404)


def test_canaries_are_told_when_they_are_planted(indexed: TestClient, work: Work) -> None:
    never = indexed.get("/datasets/d/canaries")
    answer = plant(indexed)
    soon = indexed.get(answer.headers["Location"])
    work()

    assert (never.status_code, soon.status_code, soon.json()["type"]) == (404, 409, "/docs/problems#not-yet")
    assert indexed.get(answer.headers["Location"]).status_code == 200


def test_a_model_that_is_registered_meanwhile_waits_for_the_canaries(indexed: TestClient, sql: Sql, work: Work) -> None:
    planting = plant(indexed).json()["job"]["id"]
    indexed.post("/models", json=MODEL)

    (waits_for,) = sql("SELECT after_id FROM job WHERE kind = 'train'")[0]
    work()

    assert str(waits_for) == planting
    assert sql("SELECT status FROM job WHERE kind IN ('canaries', 'train')") == [("succeeded",), ("succeeded",)]


def test_a_second_attempt_plants_once(indexed: TestClient, workshop: Any, sql: Sql) -> None:
    from worker.jobs import run

    job = plant(indexed).json()["job"]["id"]
    run(workshop, UUID(job))

    run(workshop, UUID(job))

    assert sql("SELECT count(*) FROM canary") == [(M,)]


# ---- forgetting -----------------------------------------------------------------------------------------------------


def trained(api: TestClient, work: Work, *rungs: dict[str, Any]) -> None:
    audit = {"rungs": [{"name": "population"}, *rungs], "permutations": 99, "bootstrap": 99}
    policy = {"ladder": [{"name": "retrain"}], "audit": audit}
    api.post("/models", json=MODEL | {"policy": policy})
    work()


def test_who_asks_for_a_person_asks_for_the_copies_of_their_rows(planted: TestClient, work: Work, sql: Sql) -> None:
    trained(planted, work)
    copied = sql("SELECT base_row, row FROM canary WHERE included AND base_row < :n LIMIT 1", n=TRAIN_ROWS)[0]

    asked = ask(planted, "subjects", [person(copied[0] // ROWS_EACH)]).json()

    rows = {row for (row,) in sql("SELECT row FROM forget_row")}
    assert set(copied) <= rows
    assert asked["n_samples"] == len(rows) > ROWS_EACH


def test_a_canary_that_was_left_out_cannot_be_forgotten(planted: TestClient, work: Work) -> None:
    trained(planted, work)
    included = set(planted.get("/datasets/d/canaries").json()["ids"])
    left_out = next(sample_id(k) for k in range(M) if sample_id(k) not in included)

    assert ask(planted, "samples", [left_out]).status_code == 404


def usable(engine: Engine, **sets: Any) -> tuple[list[int], list[int]] | None:
    from service.db import models

    with transaction(engine) as tx:
        model = models.get(tx, "m")
        return canaries.usable(tx, dataset_id=model.dataset_id, model_id=model.id, **sets)


def test_an_audit_gets_the_canaries_when_all_of_them_are_forgotten(
    planted: TestClient, work: Work, engine: Engine, sql: Sql
) -> None:
    trained(planted, work)
    inside, outside = ([row for (row,) in sql("SELECT row FROM canary WHERE included = :x ORDER BY row", x=x)]
                       for x in (True, False))

    assert usable(engine, forget=[0, *inside], forgotten=[]) == (inside, outside)
    assert usable(engine, forget=inside[1:], forgotten=[]) is None
    assert usable(engine, forget=inside[1:], forgotten=inside[:1]) is None      # asked for by its name: no coin's doing


def test_canaries_whose_rows_were_forgotten_are_left_out_on_both_sides(
    planted: TestClient, work: Work, engine: Engine, sql: Sql
) -> None:
    trained(planted, work)
    (base_in, gone), (base_out, aside) = (
        sql("SELECT base_row, row FROM canary WHERE included = :x ORDER BY row LIMIT 1", x=x)[0] for x in (True, False)
    )
    inside = [row for (row,) in sql("SELECT row FROM canary WHERE included ORDER BY row")][1:]

    left = usable(engine, forget=inside, forgotten=[base_in, base_out, gone])

    assert left is not None
    assert left[0] == inside
    assert len(left[1]) == M - len(inside) - 2
    assert aside not in left[1]


def test_canaries_say_nothing_of_a_model_that_was_trained_elsewhere(
    planted: TestClient, work: Work, engine: Engine, sql: Sql, tmp_path: Path
) -> None:
    trained(planted, work)
    inside = [row for (row,) in sql("SELECT row FROM canary WHERE included")]
    sql("UPDATE model_version SET origin = 'uploaded'")

    assert usable(engine, forget=inside, forgotten=[]) is None


def evidence(api: TestClient, request: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any], list[str]]:
    """The report, the certificate's statement, and the names of its metrics."""
    report = api.get(f"/deletion-requests/{request['id']}/audit-report").json()
    envelope = api.get(f"/deletion-requests/{request['id']}/certificate").json()
    statement = json.loads(base64.b64decode(envelope["payload"]))
    return report, statement, [each["name"] for each in statement["predicate"]["evidence"]["metrics"]]


def test_forgetting_all_canaries_gives_a_bound_on_epsilon(planted: TestClient, work: Work, workshop: Any) -> None:
    trained(planted, work, {"name": "one_run", "least": M})

    request = ask(planted, "samples", planted.get("/datasets/d/canaries").json()["ids"]).json()
    work()

    report, statement, metrics = evidence(planted, request)
    bound, (metric,) = report["epsilon"], [each for each in statement["predicate"]["evidence"]["metrics"]
                                           if each["name"] == "epsilon_lower_bound"]
    assert (bound["method"], bound["n"]) == ("one_run", M)
    assert metric["after"] == pytest.approx(bound["value"])
    assert 0 <= bound["value"] <= bound["ceiling"]
    assert metrics.count("epsilon_lower_bound") == 1


def test_a_bound_is_not_claimed_when_a_canary_stays(planted: TestClient, work: Work) -> None:
    trained(planted, work, {"name": "one_run", "least": M})

    request = ask(planted, "samples", planted.get("/datasets/d/canaries").json()["ids"][1:]).json()
    work()

    report, _, metrics = evidence(planted, request)
    assert report["epsilon"] is None
    assert [each["rung"] for each in report["skipped"]] == ["one_run"]
    assert "epsilon_lower_bound" not in metrics


def test_a_certificate_says_that_rows_were_planted_and_names_them_all_by_a_digest(
    planted: TestClient, work: Work, workshop: Any
) -> None:
    trained(planted, work)
    request = ask(planted, "subjects", [person(1)]).json()
    work()

    _, statement, _ = evidence(planted, request)

    tensors(planted, workshop)
    digest = sha256((workshop.settings.home / "rows.safetensors").read_bytes()).hexdigest()
    assert {"name": "dataset-rows", "digest": {"sha256": digest}} in statement["subject"]
    assert PLANTED in statement["predicate"]["limits"]


# ---- the file -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [torch.float32, torch.uint8, torch.int32])
def test_rows_are_appended_whatever_they_are_made_of(tmp_path: Path, dtype: torch.dtype) -> None:
    from worker.planting import append

    rng = np.random.default_rng(0)
    x = torch.from_numpy(rng.integers(0, 200, (7, 3, 2, 5))).to(dtype)
    y = torch.arange(7)
    save_file({"x": x, "y": y}, tmp_path / "old.safetensors")

    append(tmp_path / "old.safetensors", tmp_path / "new.safetensors", torch.tensor([6, 0, 2]), torch.tensor([1, 1, 9]))

    new = load_file(tmp_path / "new.safetensors")
    assert torch.equal(new["x"], torch.cat([x, x[[6, 0, 2]]]))
    assert new["x"].dtype == dtype
    assert new["y"].tolist() == [*range(7), 1, 1, 9]


def test_wrong_labels_are_drawn_evenly_from_the_others() -> None:
    from worker.jobs.canaries import choose

    train = [(row, row % 3) for row in range(3_000)]

    chosen = choose(train, 3_000, np.random.default_rng(0))

    counts = np.zeros((3, 3), int)
    for row, label in chosen:
        counts[row % 3, label] += 1
    assert counts.diagonal().tolist() == [0, 0, 0]
    assert counts[~np.eye(3, dtype=bool)].min() > 420       # 500 expected, sd 16
