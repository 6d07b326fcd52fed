"""The event stream: everything once, in order, and again from where a connection broke."""

from collections.abc import Callable
from pathlib import Path
from threading import Event as Signal
from threading import Thread
from typing import Any

import pytest
from sqlalchemy import Engine
from starlette.testclient import TestClient

from service.client import Client, Event
from service.db import deletion_requests
from service.db.session import transaction
from service.domain.requests import State
from tests.service.conftest import Trained
from tests.service.world import ask, person

pytestmark = pytest.mark.slow        # jobs from claim to end, or servers and processes of their own


@pytest.fixture
def start(trained: Trained, tmp_path: Path) -> str:
    return trained.copied_to(tmp_path)


@pytest.fixture
def ended(api: TestClient, work: Callable[[], Any]) -> str:
    """A certified request."""
    request = ask(api, "subjects", [person(1)]).json()
    work()
    return request["id"]


def events(api: TestClient, request_id: str, after: str | None = None) -> list[tuple[str | None, str]]:
    """(id, kind) of all events that the stream has, progress left out."""
    headers = {} if after is None else {"Last-Event-ID": after}
    answer = api.get(f"/deletion-requests/{request_id}/events", headers=headers)
    assert answer.headers["content-type"].startswith("text/event-stream")
    found = []
    for block in answer.text.replace("\r\n", "\n").split("\n\n"):
        fields = dict(line.split(": ", 1) for line in block.splitlines() if not line.startswith(":"))
        if "event" in fields and fields["event"] != "progress":
            found.append((fields.get("id"), fields["event"]))
    return found


def test_events_tell_the_whole_way_in_order(api: TestClient, ended: str, sql: Any) -> None:
    seen = events(api, ended)

    written = [(str(i), kind) for i, kind in sql("SELECT id, kind FROM request_event ORDER BY id")]
    states = [kind for _, kind in seen if kind != "attempt"]        # which a first rung that is discarded adds
    assert seen == written
    assert list(dict.fromkeys(states)) == ["received", "scheduled", "unlearning", "auditing", "certified"]


def test_a_stream_resumes_after_every_event_without_loss_or_repetition(api: TestClient, ended: str) -> None:
    whole = events(api, ended)

    resumed = [events(api, ended, after=last) for last, _ in whole if last]

    assert resumed == [whole[n:] for n in range(1, len(whole) + 1)]


def test_a_stream_of_an_unknown_request_is_a_404_before_it_begins(api: TestClient) -> None:
    answer = api.get("/deletion-requests/00000000-0000-4000-8000-000000000000/events")

    assert answer.status_code == 404
    assert answer.headers["content-type"] == "application/problem+json"


@pytest.mark.parametrize("last", ["x", "-1", "1e3", "9" * 19, ""])
def test_a_last_event_id_that_is_none_of_ours_is_refused(api: TestClient, ended: str, last: str) -> None:
    answer = api.get(f"/deletion-requests/{ended}/events", headers={"Last-Event-ID": last})

    assert answer.status_code == 422
    assert answer.json()["errors"][0]["pointer"] == "/Last-Event-ID"


def test_a_client_that_follows_sees_events_while_they_happen(
    api: TestClient, base_url: str, engine: Engine
) -> None:
    request = ask(api, "subjects", [person(1)]).json()
    seen: list[Event] = []
    waiting = Signal()

    def follow() -> None:
        with Client(base_url) as client:
            for event in client.events(request["id"]):
                seen.append(event)
                if event.kind == "scheduled":
                    waiting.set()

    follower = Thread(target=follow)
    follower.start()
    assert waiting.wait(20)
    with transaction(engine) as tx:
        deletion_requests.move(tx, deletion_requests.get(tx, request["id"]), State.CANCELLED, {"why": "test"})
    follower.join(20)

    assert not follower.is_alive()
    assert [event.kind for event in seen] == ["received", "scheduled", "cancelled"]
    assert seen[-1].data["why"] == "test"


def test_a_client_that_resumes_gets_only_what_it_has_not_seen(base_url: str, api: TestClient, ended: str) -> None:
    with Client(base_url) as client:
        whole = [event for event in client.events(ended) if event.id]
        rest = [event for event in client.events(ended, after=whole[1].id or "") if event.id]

    assert rest == whole[2:]
