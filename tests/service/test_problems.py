"""Errors of the framework and of the machinery come as problems too, and say nothing about the inside."""

from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import SecretStr
from starlette.testclient import TestClient

from service.api.app import create_app
from service.api.problems import to_faults
from service.settings import Settings


@pytest.fixture
def settings(settings: Settings) -> Settings:
    return settings.model_copy(update={"max_upload_mb": 1})


JSON = "application/json"
FORM = "multipart/form-data; boundary=b"


def pieces(n: int, kind: str) -> Iterator[bytes]:
    """A body that does not say how long it is."""
    if kind == FORM:
        yield b'--b\r\nContent-Disposition: form-data; name="file"; filename="f"\r\n\r\n'
    for _ in range(n):
        yield bytes(1 << 16)


def test_a_method_that_an_address_does_not_know_is_a_405_with_the_allowed_ones(api: TestClient) -> None:
    answer = api.delete("/models")

    assert answer.status_code == answer.json()["status"] == 405
    assert answer.headers["content-type"] == "application/problem+json"
    assert set(answer.headers["allow"].split(", ")) <= {"GET", "POST"}


@pytest.mark.parametrize("path", ["/deletion-requests", "/models", "/datasets"])
def test_a_body_that_says_it_is_too_large_is_refused_unread(api: TestClient, path: str) -> None:
    answer = api.post(path, content=bytes(2 << 20))

    assert answer.status_code == 413
    assert answer.json()["type"].endswith("#too-large")


@pytest.mark.parametrize(
    ("path", "kind"),
    [("/deletion-requests", JSON), ("/models", JSON), ("/models", FORM), ("/datasets", FORM)],
)
def test_a_body_that_turns_out_too_large_is_refused_on_the_way(api: TestClient, path: str, kind: str) -> None:
    answer = api.post(path, content=pieces(32, kind), headers={"Content-Type": kind})

    assert answer.status_code == 413
    assert answer.json()["type"].endswith("#too-large")


@pytest.mark.parametrize("path", ["/models", "/datasets"])
def test_a_form_that_breaks_off_is_a_problem_of_the_client(api: TestClient, path: str) -> None:
    answer = api.post(
        path, content=b"--b\r\nContent-Disposition: form-data; na", headers={
            "Content-Type": "multipart/form-data; boundary=b"},
    )

    assert 400 <= answer.status_code < 500
    assert answer.headers["content-type"] == "application/problem+json"


def test_a_database_that_is_gone_is_a_503_that_says_when_to_come_back(settings: Settings) -> None:
    nowhere = SecretStr("postgresql+psycopg://nobody@127.0.0.1:1/none")
    app = create_app(settings.model_copy(update={"database_url": nowhere}))

    answer = TestClient(app, raise_server_exceptions=False).get("/models")

    assert answer.status_code == 503
    assert answer.headers["retry-after"] == "5"
    assert answer.headers["content-type"] == "application/problem+json"


fields = st.lists(st.sampled_from(["model", "target", "ids"]), max_size=3)


@given(path=fields, index=st.integers(0, 99))
def test_a_pointer_leads_to_the_place_of_the_error(path: list[str], index: int) -> None:
    error = {"type": "string_type", "msg": "no text", "loc": ("body", *path, index)}

    (fault,) = to_faults([error], None)

    assert fault.pointer == "".join(f"/{part}" for part in [*path, index])


@given(name=st.text(min_size=1, max_size=60))
def test_a_field_that_does_not_belong_is_never_repeated(name: str) -> None:
    error = {"type": "extra_forbidden", "msg": "Extra inputs are not permitted", "loc": ("body", "target", name)}

    (fault,) = to_faults([error], {"target": {name: 1}})

    assert (fault.pointer, fault.detail) == ("/target/?", "is not a field of this object")
