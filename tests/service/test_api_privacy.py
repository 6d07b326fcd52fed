"""After a whole life of requests no identifier of a person or a row is left in a table, a log or an answer."""

import base64
import json
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import structlog
from sqlalchemy import Engine
from starlette.testclient import TestClient

from service import log
from service.db.session import transaction
from service.ledger.sequencer import sequence
from service.storage import FileStore, Store
from tests.service.conftest import Trained
from tests.service.world import AUDIT, Tripwire, ask, person, reap, stored

IDENTIFIER = re.compile(r"(person|row)-(train|validation|holdout)-\d")


@pytest.fixture
def start(trained: Trained, tmp_path: Path) -> str:
    return trained.copied_to(tmp_path)


@pytest.fixture
def talkative() -> Any:
    """The log at its most talkative; called inside a test, where pytest's capture has begun."""
    yield lambda: log.set_up("DEBUG")
    structlog.reset_defaults()


def spellings(text: str) -> str:
    """A text together with what its hexadecimal and base64 parts say."""
    hexadecimal = (bytes.fromhex(part) for part in re.findall(r"(?:[0-9a-f]{2}){8,}", text))
    plain = b"\n".join([text.encode(), *hexadecimal])
    encoded = (base64.b64decode(part + b"=" * (-len(part) % 4)) for part in re.findall(rb"[A-Za-z0-9+/]{24,}", plain)
               if len(part) % 4 != 1)
    return b"\n".join([plain, *encoded]).decode(errors="replace")


def test_the_reader_of_spellings_finds_what_is_hidden() -> None:
    envelope = json.dumps({"payload": base64.b64encode(b'{"id": "person-train-7"}').decode()}).encode()

    assert IDENTIFIER.search(spellings("\\x" + envelope.hex()))
    assert not IDENTIFIER.search(envelope.hex())


def whole_life(api: TestClient, work: Callable[[], Any], workshop: Any, engine: Engine) -> list[dict[str, Any]]:
    """Requests that are certified, cancelled, refused at the door, escalated and failed."""
    asked = [ask(api, "subjects", [person(1)], headers={"Idempotency-Key": "k"}).json()]
    asked.append(ask(api, "samples", ["row-train-2-0", "row-train-3-1"]).json())
    work()
    cancelled = ask(api, "subjects", [person(4)]).json()
    api.post(f"/deletion-requests/{cancelled['id']}/cancel")
    ask(api, "subjects", [person(5), "person-train-8222157"])
    api.put("/models/m/policy", json={"ladder": [{"name": "nabla_tau", "lr": 10, "alpha0": 1}], "audit": AUDIT})
    failed = ask(api, "subjects", [person(6)]).json()
    work()
    reap(workshop.engine)
    with transaction(engine) as tx:
        sequence(tx, workshop.keys, workshop.settings.origin)
    return [*asked, cancelled, failed]


@pytest.mark.slow
def test_no_identifier_is_left_in_tables_logs_or_answers(
    api: TestClient, engine: Engine, work: Callable[[], Any], workshop: Any, talkative: Callable[[], None],
    capfd: pytest.CaptureFixture[str],
) -> None:
    talkative()
    requests = whole_life(api, work, workshop, engine)

    answers = [
        api.get(link, headers={"Accept": kind}).text
        for request in requests for name, link in request["links"].items() for kind in ("application/json", "text/html")
        if name != "bundle"
    ]
    rows = [row for table in stored(engine).values() for row in table]
    assert len(requests) == 4
    assert {"certified", "cancelled"} <= {api.get(r["links"]["self"]).json()["state"] for r in requests}
    assert not [text[:80] for text in [*rows, *answers, *capfd.readouterr()] if IDENTIFIER.search(spellings(text))]


def test_a_worker_that_meets_a_stranger_error_logs_its_type_alone(
    api: TestClient, workshop: Any, talkative: Callable[[], None], capfd: pytest.CaptureFixture[str]
) -> None:
    from worker.jobs import run

    talkative()

    def breaks() -> None:
        raise ValueError(person(1))

    request = ask(api, "subjects", [person(1)]).json()
    run(replace(workshop, store=Store(Tripwire(FileStore(workshop.settings.home), "read", breaks))), request["job_id"])

    lines = [json.loads(line) for line in capfd.readouterr().err.splitlines() if line.startswith("{")]
    unforeseen = [line for line in lines if line["event"] == "job.unforeseen"]
    assert [line["error"] for line in unforeseen] == ["ValueError"]
    assert unforeseen[0]["job_id"] == request["job_id"]
    assert not IDENTIFIER.search(json.dumps(lines))
