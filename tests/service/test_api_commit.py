"""An answer that says 202 is sent only when the row is there for everybody."""

from pathlib import Path

import pytest
from sqlalchemy import Engine, func, select
from starlette.testclient import TestClient
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.api.app import create_app
from service.db.session import transaction
from service.db.tables import DeletionRequest, Outbox
from service.settings import Settings
from tests.service.conftest import Trained
from tests.service.world import ask, person


@pytest.fixture
def start(trained: Trained, tmp_path: Path) -> str:
    return trained.copied_to(tmp_path)


class Witness:
    """Looks through another connection at the moment when the status line is sent."""

    def __init__(self, app: ASGIApp, engine: Engine) -> None:
        self.app, self.engine = app, engine
        self.seen: list[tuple[int, int]] = []

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def looking(message: Message) -> None:
            if message["type"] == "http.response.start":
                self.seen.append(self._look())
            await send(message)

        await self.app(scope, receive, looking)

    def _look(self) -> tuple[int, int]:
        with transaction(self.engine) as tx:
            requests = tx.scalars(select(func.count()).select_from(DeletionRequest)).one()
            return requests, tx.scalars(select(func.count()).select_from(Outbox)).one()


def test_another_connection_sees_request_and_message_when_the_answer_starts(
    settings: Settings, other: Engine
) -> None:
    app = create_app(settings)
    witness = Witness(app, other)

    answer = ask(TestClient(witness), "subjects", [person(1)])

    app.state.context.engine.dispose()
    assert answer.status_code == 202
    assert witness.seen == [(1, 1)]


def test_a_refusal_leaves_nothing_for_another_connection(settings: Settings, other: Engine) -> None:
    app = create_app(settings)
    witness = Witness(app, other)

    answer = ask(TestClient(witness), "subjects", [person(1), "nobody"])

    app.state.context.engine.dispose()
    assert answer.status_code == 404
    assert witness.seen == [(0, 0)]
