"""Real servers from wheels, one PostgreSQL per test process; every test gets a fresh clone of a migrated database."""

import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from uuid import UUID, uuid4

import psycopg
import pytest
from sqlalchemy import Engine, select, text
from starlette.testclient import TestClient

from service.api.app import create_app
from service.db.migrate import upgrade
from service.db.session import connect, transaction
from service.db.tables import Outbox
from service.embedded import postgres
from service.ledger import keys
from service.settings import Settings
from tests.tiny import tiny_parquet


@pytest.fixture(scope="session")
def postgres_url() -> Iterator[str]:
    """A server whose database `expunge` is migrated and never written to.

    Not under pytest's own folder: each session of pytest closes that to other users, and PostgreSQL, which refuses to
    run as root, is another user there.
    """
    with tempfile.TemporaryDirectory(prefix="expunge-test-") as folder, postgres(Path(folder) / "postgres") as url:
        engine = connect(url, pool_size=1)
        upgrade(engine)
        with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as admin:
            admin.execute(text("ALTER SYSTEM SET fsync = off"))     # the disk is not what is tested
            admin.execute(text("SELECT pg_reload_conf()"))
        engine.dispose()
        yield url


@pytest.fixture
def bare_url() -> Iterator[str]:
    """A server of its own that has never seen a migration, nor the roles that one makes."""
    with tempfile.TemporaryDirectory(prefix="expunge-test-") as folder, postgres(Path(folder) / "postgres") as url:
        yield url


@pytest.fixture
def database_url(postgres_url: str) -> Iterator[str]:
    name = f"test_{uuid4().hex}"
    plain = postgres_url.replace("+psycopg", "").replace("/expunge?", "/postgres?")
    with psycopg.connect(plain, autocommit=True) as admin:
        admin.execute(f"CREATE DATABASE {name} TEMPLATE expunge".encode())
        yield postgres_url.replace("/expunge?", f"/{name}?")
        admin.execute(f"DROP DATABASE {name} WITH (FORCE)".encode())


@pytest.fixture
def engine(database_url: str) -> Iterator[Engine]:
    engine = connect(database_url)
    yield engine
    engine.dispose()


@pytest.fixture(scope="session")
def keys_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("keys") / "keys"
    keys.new(folder, "test.example/log")
    return folder


@pytest.fixture
def settings(database_url: str, keys_dir: Path, tmp_path: Path) -> Settings:
    return Settings(
        home=tmp_path, database_url=database_url, broker_url="redis://127.0.0.1:1", keys=keys_dir,
        origin="test.example/log", lease_s=30, device="cpu",
    )


@pytest.fixture
def api(settings: Settings) -> Iterator[TestClient]:
    """The HTTP interface in this process; errors of the server come back as answers."""
    app = create_app(settings)
    with TestClient(app, raise_server_exceptions=False) as client:
        yield client
    app.state.context.engine.dispose()


@pytest.fixture
def work(settings: Settings, engine: Engine) -> Iterator[Callable[[], list[UUID]]]:
    """Plays broker and worker in this process: takes every message of the outbox and does its job."""
    from worker.jobs import Workshop, run  # torch, which half of the tests can do without

    workshop = Workshop.of(settings)

    def until_idle() -> list[UUID]:
        done: list[UUID] = []
        while True:
            with transaction(engine) as tx:
                messages = tx.scalars(select(Outbox).where(Outbox.sent_at.is_(None)).order_by(Outbox.created_at)).all()
                ids = [message.job_id for message in messages]
                for message in messages:
                    tx.delete(message)
            if not ids:
                return done
            for job_id in ids:
                run(workshop, job_id)
                done.append(job_id)

    yield until_idle
    workshop.engine.dispose()


@pytest.fixture
def tiny(tmp_path: Path) -> Path:
    """A small data set of persons with several rows each."""
    return tiny_parquet(tmp_path / "tiny.parquet")
