"""The typed client against the real interface behind a real socket."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine

from service.client import Client, Event, ProblemError, _events
from service.db.session import transaction
from service.ledger.sequencer import sequence
from service.ledger.verify import main as verify
from tests.service.world import MODEL, person


@pytest.fixture
def client(base_url: str) -> Any:
    with Client(base_url) as client:
        yield client


@pytest.mark.slow
def test_the_whole_way_with_the_client(
    client: Client, work: Callable[[], Any], workshop: Any, engine: Engine, tiny: Path, tmp_path: Path, keys_dir: Path
) -> None:
    dataset = client.add_dataset("d", tiny)
    client.add_model(MODEL)
    work()
    request = client.forget("m", {"kind": "subjects", "ids": [person(1)]}, external_id="case-1")
    work()
    with transaction(engine) as tx:
        sequence(tx, workshop.keys, "test.example/log")

    kinds = [event.kind for event in client.events(request["id"])]
    (tmp_path / "bundle.zip").write_bytes(client.bundle(request["id"]))
    (tmp_path / "receipt.json").write_bytes(client.receipt(request["id"], "row-train-1-0"))

    assert client.job(dataset["job"]["id"])["status"] == "succeeded"
    assert client.model("m")["active_version"] == 2
    assert client.request(request["id"])["state"] == kinds[-1] == "certified"
    assert client.report(request["id"], accept="application/pdf").startswith(b"%PDF")
    assert b"<html" in client.report(request["id"], accept="text/html")
    assert client.entries(request["id"])[-1]["kind"] == "certificate"
    trusted = [str(tmp_path / "bundle.zip"), "--key", str(keys_dir / "expunge.pub")]
    assert verify([*trusted, "--receipt", str(tmp_path / "receipt.json")]) == 0


def test_a_rule_splits_a_file_without_the_column(client: Client, tmp_path: Path) -> None:
    import pyarrow.parquet as pq

    from tests.tiny import tiny_parquet

    path = tiny_parquet(tmp_path / "t.parquet")
    pq.write_table(pq.read_table(path).drop_columns(["split"]), path)

    made = client.add_dataset("d", path, split={"validation": 0.2, "holdout": 0.3})

    assert sum(made["facts"]["splits"].values()) == made["facts"]["rows"] == 480
    assert made["facts"]["shared_subjects"] == 0


def test_two_posts_without_a_key_get_keys_of_their_own(client: Client) -> None:
    errors = []
    for _ in range(2):
        with pytest.raises(ProblemError) as caught:
            client.forget("absent", {"kind": "subjects", "ids": [person(1)]})
        errors.append(caught.value.status)

    assert errors == [404, 404]


def test_a_refusal_is_raised_with_its_problem(client: Client) -> None:
    with pytest.raises(ProblemError) as caught:
        client.model("absent")

    assert caught.value.status == 404
    assert caught.value.problem["type"].endswith("#not-found")
    assert "no model of this name" in str(caught.value)


def test_a_stream_of_an_unknown_request_is_raised_as_a_problem(client: Client) -> None:
    with pytest.raises(ProblemError) as caught:
        list(client.events("00000000-0000-4000-8000-000000000000"))

    assert caught.value.status == 404


def test_events_are_read_from_lines_as_the_standard_says() -> None:
    lines = [
        ": a comment", "", "event: unlearning", "id: 3", 'data: {"a": "b: c"}', "retry: 5", "",
        'data:{"n":1}', "", "event: lost", "",
    ]

    assert list(_events(iter(lines))) == [
        Event("unlearning", {"a": "b: c"}, "3"), Event("message", {"n": 1}, None),
    ]
