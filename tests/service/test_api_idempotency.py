"""The same key and body are one request, however often and however fast they come."""

from pathlib import Path

import pytest
from sqlalchemy import Engine, func, select
from starlette.testclient import TestClient

from service.db.session import transaction
from service.db.tables import DeletionRequest
from tests.service.conftest import Trained
from tests.service.world import MODEL, ask, person, stored, together

KEY = {"Idempotency-Key": "4f9c"}


@pytest.fixture
def start(trained: Trained, tmp_path: Path) -> str:
    return trained.copied_to(tmp_path)


def count(engine: Engine) -> int:
    with transaction(engine) as tx:
        return tx.scalars(select(func.count()).select_from(DeletionRequest)).one()


def test_the_same_key_and_body_get_the_first_answer_again(api: TestClient, engine: Engine) -> None:
    first = ask(api, "subjects", [person(1)], headers=KEY)
    before = stored(engine)

    second = ask(api, "subjects", [person(1)], headers=KEY)

    assert (second.status_code, second.json()) == (202, first.json())
    assert second.headers["location"] == first.headers["location"]
    assert stored(engine) == before


def test_the_first_answer_is_repeated_after_the_request_has_moved_on(api: TestClient) -> None:
    first = ask(api, "subjects", [person(1)], headers=KEY).json()
    api.post(f"/deletion-requests/{first['id']}/cancel")

    second = ask(api, "subjects", [person(1)], headers=KEY).json()

    assert second == first


def test_eight_threads_with_one_key_make_one_request(api: TestClient, engine: Engine) -> None:
    answers = together(8, lambda _: ask(api, "subjects", [person(1)], headers=KEY))

    assert {answer.status_code for answer in answers} == {202}
    assert len({answer.json()["id"] for answer in answers}) == 1
    assert count(engine) == 1


def test_the_same_key_with_another_body_is_refused(api: TestClient, engine: Engine) -> None:
    ask(api, "subjects", [person(1)], headers=KEY)
    before = stored(engine)

    answer = ask(api, "subjects", [person(2)], headers=KEY)

    assert answer.status_code == 422
    assert answer.json()["errors"][0]["pointer"] == "/Idempotency-Key"
    assert stored(engine) == before


def test_a_refused_request_does_not_use_up_its_key(api: TestClient) -> None:
    refused = ask(api, "subjects", ["nobody"], headers=KEY)

    answer = ask(api, "subjects", [person(1)], headers=KEY)

    assert (refused.status_code, answer.status_code) == (404, 202)


def test_without_a_key_two_posts_are_two_requests(api: TestClient, engine: Engine) -> None:
    ids = {ask(api, "subjects", [person(1)]).json()["id"] for _ in range(2)}

    assert len(ids) == count(engine) == 2


def test_eight_threads_with_one_external_id_make_one_request(api: TestClient, engine: Engine) -> None:
    answers = together(8, lambda n: ask(api, "subjects", [person(n)], external_id="case-1"))

    assert sorted(answer.status_code for answer in answers) == [202] + [409] * 7
    assert count(engine) == 1


def test_one_external_id_on_two_models_at_once_is_taken_once(api: TestClient, engine: Engine, sql) -> None:
    for name in "abcdefg":
        sql("INSERT INTO model (id, name, dataset_id, spec, policy) "
            "SELECT gen_random_uuid(), :name, dataset_id, spec, policy FROM model WHERE name = 'm'", name=name)
    sql("INSERT INTO model_version (id, model_id, number, status, origin, weights_key) "
        "SELECT gen_random_uuid(), id, 1, 'active', 'uploaded', 'none' FROM model WHERE name <> 'm'")

    answers = together(7, lambda n: ask(api, "subjects", [person(n)], external_id="case-1", model="abcdefg"[n]))

    assert sorted(answer.status_code for answer in answers) == [202] + [409] * 6
    assert count(engine) == 1


def test_eight_threads_that_register_one_model_make_one(api: TestClient) -> None:
    answers = together(8, lambda _: api.post("/models", json=MODEL | {"name": "n"}))

    assert sorted(answer.status_code for answer in answers) == [202] + [409] * 7


def test_four_threads_that_register_one_data_set_make_one(api: TestClient, tiny: Path) -> None:
    content = tiny.read_bytes()

    answers = together(4, lambda _: api.post("/datasets", data={"name": "e"}, files={"file": content}))

    assert sorted(answer.status_code for answer in answers) == [202] + [409] * 3
