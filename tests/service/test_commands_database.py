"""Where a command finds the database when no URL is set."""

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from service.commands.database import url
from service.embedded import postgres
from service.errors import Unavailable
from service.settings import Settings


@pytest.fixture
def private_home() -> Iterator[Path]:
    """Outside of pytest's folder, which PostgreSQL's own user may not enter."""
    with tempfile.TemporaryDirectory(prefix="expunge-test-") as folder:
        yield Path(folder)


@pytest.mark.slow
def test_a_command_finds_the_server_of_a_home_and_leaves_it_running(private_home: Path):
    settings = Settings(home=private_home)

    with postgres(private_home / "postgres") as served:
        assert [url(settings), url(settings)] == [served, served]

    with pytest.raises(Unavailable, match="no `expunge up` runs"):
        url(settings)


def test_a_url_that_is_set_is_taken(tmp_path: Path):
    assert url(Settings(home=tmp_path, database_url="postgresql+psycopg://here/now")) == "postgresql+psycopg://here/now"
