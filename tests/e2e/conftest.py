"""The embedded service as a user runs it: real PostgreSQL, real Redis, API, scheduler, Celery worker."""

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from service.client import Client
from service.settings import Settings
from service.stack import Stack, stack

LEASE_S = 3.0


@pytest.fixture(scope="session")
def running() -> Iterator[Stack]:
    """One service for all tests of a process; not under pytest's folder, which PostgreSQL may not enter."""
    with tempfile.TemporaryDirectory(prefix="expunge-test-") as home:
        settings = Settings(home=Path(home), port=0, lease_s=LEASE_S, device="cpu")
        with stack(settings) as service:
            yield service


@pytest.fixture
def client(running: Stack) -> Iterator[Client]:
    with Client(running.url) as client:
        yield client
