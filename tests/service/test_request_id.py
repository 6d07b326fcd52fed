"""A request can be found again: by its answer's header, by its problem, in the logs."""

import json
from collections.abc import Callable, Iterator

import pytest
import structlog
from starlette.testclient import TestClient

from service import log
from service.db import models
from service.errors import ExpungeError, JobError


@pytest.fixture
def logged() -> Iterator[Callable[[], None]]:
    """The logs as a process writes them; called inside a test, where pytest's capture has begun."""
    yield lambda: log.set_up("INFO")
    structlog.reset_defaults()


def test_a_problem_names_the_request_that_the_header_names(api: TestClient) -> None:
    first, second = api.get("/models/none"), api.get("/models/none")

    assert first.json()["instance"] == f"urn:uuid:{first.headers['x-request-id']}"
    assert first.headers["x-request-id"] != second.headers["x-request-id"]


def test_an_id_that_a_client_sends_is_not_taken_over(api: TestClient) -> None:
    answer = api.get("/models", headers={"X-Request-ID": "person-train-7"})

    assert answer.headers["x-request-id"] != "person-train-7"


def test_an_unforeseen_error_is_logged_under_the_id_that_its_problem_shows(
    api: TestClient, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], logged: Callable[[], None],
) -> None:
    logged()
    monkeypatch.delattr(models, "listing")

    problem = api.get("/models").json()

    line = json.loads(capsys.readouterr().err.splitlines()[-1])
    assert problem["status"] == 500
    assert problem["instance"] == f"urn:uuid:{line['request_id']}"
    assert "listing" not in json.dumps(problem)


def test_the_page_that_a_problem_type_leads_to_lists_every_problem(api: TestClient) -> None:
    page = api.get("/docs/problems").text

    kinds = [kind for kind in ExpungeError.__subclasses__() if kind is not JobError]
    assert all(f'<tr id="{kind.slug}">' in page for kind in kinds)
