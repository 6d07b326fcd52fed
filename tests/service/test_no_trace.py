"""A person in the whole database and the whole store: before the erasure only where the data are, after it nowhere."""

import base64
import hashlib
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine
from starlette.testclient import TestClient

from service.domain.commitments import reference
from service.intake import NewDeletionRequest
from service.ledger import publishing
from service.ledger.sequencer import drain
from service.settings import Settings
from tests.service import traces
from tests.service.conftest import Trained
from tests.service.erasures import Erase
from tests.service.world import ask, person
from tests.tiny import tiny_rows

ROWS = tiny_rows()        # the last persons, for the id of no other begins like theirs
ERASED = [row for row in ROWS if row["subject_id"] in {person(57), person(58)}]
STAYS = [row for row in ROWS if row["subject_id"] == person(59)]


@pytest.fixture
def start(trained: Trained, tmp_path: Path) -> str:
    return trained.copied_to(tmp_path)


def ids(rows: list[dict[str, Any]]) -> list[bytes]:
    """All that can be made of their ids without a key."""
    named = {row[column] for row in rows for column in ("sample_id", "subject_id")}
    return [guess for name in named for guess in traces.guesses(name)]


def refs(workshop: Any, rows: list[dict[str, Any]]) -> list[bytes]:
    columns = {"sample": "sample_id", "subject": "subject_id"}
    key = workshop.keys.index_key
    return [reference(key, kind, row[column]) for row in rows for kind, column in columns.items()]


def features(rows: list[dict[str, Any]]) -> list[bytes]:
    """Their inputs, as tensors and Parquet columns hold them."""
    return [struct.pack("<6f", *row["features"]) for row in rows]


def bodies() -> list[bytes]:
    """Bare hashes of the requests' bodies, which name persons."""
    targets = ({"kind": "subjects", "ids": [person(57)]}, {"kind": "subjects", "ids": [person(58)]})
    said = (NewDeletionRequest.model_validate({"model": "m", "target": each}).model_dump_json() for each in targets)
    return [hashlib.sha256(each.encode()).digest() for each in said]


@pytest.fixture
def life(api: TestClient, work: Any, workshop: Any, engine: Engine, settings: Settings) -> Callable[[], None]:
    """Two requests are certified, logged and published, a third is withdrawn; call it to log what follows."""

    def logged() -> None:
        drain(engine, workshop.keys, settings.origin)
        publishing.publish(engine, workshop.store.named(publishing.FOLDER), settings.origin)

    for number in (57, 58):
        ask(api, "subjects", [person(number)], headers={"Idempotency-Key": f"key-{number}"}).raise_for_status()
    work()
    withdrawn = ask(api, "subjects", [person(57)]).json()
    api.post(f"/deletion-requests/{withdrawn['id']}/cancel").raise_for_status()
    logged()
    return logged


@pytest.mark.slow
def test_before_the_erasure_only_the_data_set_and_the_keyed_index_know_a_person(
    life: Any, settings: Settings, sql: Any, workshop: Any, tmp_path: Path
) -> None:
    ((file_key, tensors_key),) = sql("SELECT file_key, tensors_key FROM dataset")
    tables, stored = traces.dump(settings.database_url.get_secret_value()), traces.contents(tmp_path / "store")

    assert len(tables["ledger_leaf"].splitlines()) >= 2
    assert any(name.startswith("log/tile") for name in stored)
    assert traces.holding(tables, ids(ROWS) + bodies() + features(ERASED)) == set()
    assert traces.holding(tables, refs(workshop, ERASED)) == {"sample"}
    assert traces.holding(stored, ids(ERASED)) == {file_key}
    assert traces.holding(stored, features(ERASED)) == {file_key, tensors_key}
    assert traces.holding(stored, refs(workshop, ERASED)) == set()


@pytest.mark.slow
def test_after_the_erasure_nothing_knows_the_person_and_the_others_can_still_be_forgotten(
    api: TestClient, life: Any, erase: Erase, settings: Settings, sql: Any, workshop: Any, work: Any, tmp_path: Path
) -> None:
    (ended,) = erase()
    life()
    ((file_key, tensors_key),) = sql("SELECT file_key, tensors_key FROM dataset")
    tables, stored = traces.dump(settings.database_url.get_secret_value()), traces.contents(tmp_path / "store")

    assert ended["status"] == "succeeded"
    assert traces.holding(tables, ids(ROWS) + bodies() + features(ERASED)) == set()
    assert traces.holding(tables, refs(workshop, ERASED)) == {"suppressed"}
    assert traces.holding(stored, ids(ERASED) + features(ERASED) + refs(workshop, ERASED)) == set()
    assert traces.holding(stored, ids(STAYS)) == {file_key}
    assert traces.holding(stored, features(STAYS)) == {file_key, tensors_key}
    assert traces.holding(tables, refs(workshop, STAYS)) == {"sample"}
    request = ask(api, "subjects", [person(59)]).json()
    work()
    seen = api.get(f"/deletion-requests/{request['id']}").json()
    assert (seen["state"], seen["n_samples"]) == ("certified", 3)
    assert ask(api, "subjects", [person(57)]).status_code == 404


def test_the_search_finds_a_person_in_every_spelling(tmp_path: Path) -> None:
    hidden = {
        "plain": person(1).encode(), "hex": person(1).encode().hex().encode(),
        "json in hex": b'{"payload":"' + base64.b64encode(b'{"id":"person-train-1"}') + b'"}',
        "digest": hashlib.sha256(person(1).encode()).hexdigest().encode(), "nobody": person(2).encode(),
    }
    hidden["json in hex"] = hidden["json in hex"].hex().encode()

    assert traces.holding(hidden, traces.guesses(person(1))) == set(hidden) - {"nobody"}
