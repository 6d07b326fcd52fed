"""The loop between database, broker and ledger, with a real Redis that may also be away."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg
import pytest
from pydantic import SecretStr
from sqlalchemy import Engine
from starlette.testclient import TestClient

from service import scheduler
from service.db import jobs
from service.db.session import transaction
from service.embedded import redis
from service.errors import BadInput
from service.queue import TASK, make_app, publish
from service.settings import Settings
from tests.service.conftest import Trained
from tests.service.logs import enqueue
from tests.service.world import ask, person

pytestmark = pytest.mark.slow        # jobs from claim to end, or servers and processes of their own


@pytest.fixture
def start(trained: Trained, tmp_path: Path) -> str:
    return trained.copied_to(tmp_path)


@contextmanager
def scheduling(settings: Settings) -> Iterator[None]:
    """A scheduler at work until the block ends."""
    stop = threading.Event()
    thread = threading.Thread(target=scheduler.run, args=(settings,), kwargs={"stop": stop, "every_s": 0.5})
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join(30)
        assert not thread.is_alive()


@contextmanager
def with_broker(settings: Settings) -> Iterator[Settings]:
    with redis(settings.home / "redis") as url:
        yield settings.model_copy(update={"broker_url": SecretStr(url)})


def received(settings: Settings, queue: str, within_s: float = 20) -> Any:
    """The next message, as the worker's library gets it."""
    with make_app(settings).connection_for_read() as connection, connection.SimpleQueue(queue) as messages:
        message = messages.get(timeout=within_s)
        message.ack()
        return message


def test_a_request_reaches_the_broker_as_the_id_of_its_job_and_nothing_else(
    api: TestClient, settings: Settings
) -> None:
    with with_broker(settings) as settings, scheduling(settings):
        request = ask(api, "subjects", [person(1)], external_id="case-1").json()

        message = received(settings, "unlearn")

    assert message.headers["task"] == TASK
    assert message.payload[:2] == [[request["job_id"]], {}]
    assert "case-1" not in str(message.body)
    assert "person" not in str(message.body)


def test_a_broker_that_is_away_delays_a_message_and_loses_none(api: TestClient, settings: Settings, sql: Any) -> None:
    gone = settings.model_copy(update={"broker_url": SecretStr("redis://127.0.0.1:1")})
    request = ask(api, "subjects", [person(1)]).json()

    with pytest.raises(scheduler.BrokerError):
        scheduler.relay(api.app.state.context.engine, lambda m: publish(make_app(gone), m))
    unsent = sql("SELECT count(*) FROM outbox WHERE sent_at IS NULL")
    with with_broker(settings) as here, scheduling(here):
        message = received(here, "unlearn")

    assert unsent == [(1,)]
    assert message.payload[0] == [request["job_id"]]


def test_a_certificate_gets_its_place_in_the_ledger(
    api: TestClient, settings: Settings, work: Callable[[], Any], engine: Engine
) -> None:
    request = ask(api, "subjects", [person(1)]).json()
    work()
    before = api.get("/ledger/checkpoint").status_code

    with with_broker(settings) as settings, scheduling(settings), listening(settings) as wait:
        wait(lambda: api.get("/ledger/checkpoint").status_code == 200)

    envelope = api.get(f"/deletion-requests/{request['id']}/certificate").content
    assert before == 409
    last = int(api.get("/ledger/checkpoint").text.splitlines()[1]) - 1      # before it are the rungs that leaked
    assert api.get(f"/ledger/entries/{last}").content == envelope
    assert api.get(f"/deletion-requests/{request['id']}/bundle").headers["content-type"] == "application/zip"
    assert len(api.get(f"/ledger/proofs/inclusion?index={last}&size={last + 1}").json()["hashes"]) == last.bit_count()


@contextmanager
def listening(settings: Settings) -> Iterator[Callable[[Callable[[], bool]], None]]:
    """Waits for a condition on a connection of its own, woken by the outbox's notifications."""
    assert settings.database_url is not None
    url = settings.database_url.get_secret_value().replace("+psycopg", "", 1)
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(f"LISTEN {jobs.WAKE}".encode())

        def wait(condition: Callable[[], bool]) -> None:
            for _ in range(400):
                if condition():
                    return
                list(connection.notifies(timeout=0.05, stop_after=1))
            raise AssertionError("the condition never came true")

        yield wait


def test_a_scheduler_without_a_database_does_not_start(settings: Settings) -> None:
    with pytest.raises(ValueError, match="EXPUNGE_DATABASE_URL"):
        scheduler.run(settings.model_copy(update={"database_url": None}), stop=threading.Event())


def test_two_schedulers_send_a_message_once(api: TestClient, settings: Settings, sql: Any) -> None:
    with with_broker(settings) as settings:
        with scheduling(settings), scheduling(settings), listening(settings) as wait:
            ask(api, "subjects", [person(1)])
            wait(lambda: sql("SELECT count(*) FROM outbox WHERE sent_at IS NULL") == [(0,)])

        with make_app(settings).connection_for_read() as connection, connection.SimpleQueue("unlearn") as messages:
            assert messages.qsize() == 1


def test_a_lost_job_is_queued_again_by_the_loop(
    api: TestClient, settings: Settings, engine: Engine, sql: Any
) -> None:
    request = ask(api, "subjects", [person(1)]).json()
    with transaction(engine) as tx:
        jobs.claim(tx, request["job_id"], lease=scheduler.SILENT_FOR)
    sql("DELETE FROM outbox")
    sql("UPDATE job SET lease_until = clock_timestamp() - interval '1 second' WHERE status = 'running'")

    with with_broker(settings) as settings, scheduling(settings):
        message = received(settings, "unlearn")

    assert message.payload[0] == [request["job_id"]]
    assert api.get(f"/jobs/{request['job_id']}").json()["status"] == "queued"


def test_a_broker_that_is_away_does_not_keep_certificates_from_the_ledger(
    api: TestClient, settings: Settings, work: Callable[[], Any], sql: Any
) -> None:
    ask(api, "subjects", [person(1)])
    work()
    ask(api, "subjects", [person(2)])       # its message cannot be sent

    with scheduling(settings), listening(settings) as wait:
        wait(lambda: api.get("/ledger/checkpoint").status_code == 200)

    assert sql("SELECT count(*) FROM outbox WHERE sent_at IS NULL") == [(1,)]


def test_a_broken_ledger_is_not_signed_and_does_not_keep_jobs_from_the_broker(
    api: TestClient, settings: Settings, work: Callable[[], Any], sql: Any
) -> None:
    ask(api, "subjects", [person(1)])
    work()
    sql("INSERT INTO ledger_head (id, size, frontier) VALUES (1, 1, ARRAY[decode(repeat('00', 32), 'hex')])")
    request = ask(api, "subjects", [person(2)]).json()

    with with_broker(settings) as settings, scheduling(settings):
        message = received(settings, "unlearn")

    assert message.payload[0] == [request["job_id"]]
    assert api.get("/ledger/checkpoint").status_code == 409


def test_the_ledger_is_published_and_anchored_by_the_loop(
    api: TestClient, settings: Settings, engine: Engine, tmp_path: Path
) -> None:
    (tmp_path / "outside").mkdir()
    outside = settings.model_copy(update={"anchors": SecretStr((tmp_path / "outside").as_uri())})
    enqueue(engine, [b"an entry"])

    with with_broker(outside) as outside, scheduling(outside), listening(settings) as wait:
        wait(lambda: len(list((tmp_path / "outside").rglob("checkpoints/*"))) == 1)

    note = api.get("/ledger/checkpoint").content
    assert (tmp_path / "store/log/checkpoint").read_bytes() == note
    assert [path.read_bytes() for path in (tmp_path / "outside/checkpoints").iterdir()] == [note]


def test_a_store_that_is_away_keeps_no_checkpoint_from_the_ledger_and_from_the_anchors(
    api: TestClient, settings: Settings, engine: Engine, tmp_path: Path
) -> None:
    (tmp_path / "outside").mkdir()
    (tmp_path / "a file").write_bytes(b"")
    changed = {"anchors": SecretStr((tmp_path / "outside").as_uri()), "store_url": (tmp_path / "a file").as_uri()}
    enqueue(engine, [b"an entry"])

    with with_broker(settings.model_copy(update=changed)) as here, scheduling(here), listening(settings) as wait:
        wait(lambda: len(list((tmp_path / "outside").rglob("checkpoints/*"))) == 1)

    assert api.get("/ledger/checkpoint").status_code == 200


def test_an_unusable_anchor_is_said_before_anything_is_begun(settings: Settings) -> None:
    wrong = settings.model_copy(update={"anchors": SecretStr("ftp://secret")})

    with pytest.raises(BadInput, match="Anchor 1 of EXPUNGE_ANCHORS"):
        scheduler.run(wrong, stop=threading.Event())
