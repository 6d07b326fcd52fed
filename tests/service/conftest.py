"""A world that is ready for deletion requests, made once per test process; each test gets a copy of its own."""

import shutil
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from urllib.request import urlopen
from uuid import UUID, uuid4

import psycopg
import pytest
import uvicorn
from sqlalchemy import Engine
from starlette.testclient import TestClient

from service.api.app import create_app
from service.bench.sample import add_model
from service.db.session import connect, transaction
from service.db.tables import Job, Outbox
from service.ledger import keys, verify
from service.ledger.envelopes import seal
from service.settings import Settings
from service.storage import FileStore, Store
from tests.service.erasures import DUE, Erase
from tests.service.ledger_fixture import ORIGIN, Log, other_entries, statement
from tests.service.world import MODEL, Tripwire, ask, person
from tests.tiny import tiny_parquet


def administrate(postgres_url: str, statement: str) -> None:
    plain = postgres_url.replace("+psycopg", "").replace("/expunge?", "/postgres?")
    with psycopg.connect(plain, autocommit=True) as admin:
        admin.execute(statement.encode())


@dataclass(frozen=True)
class Trained:
    """Data set `d`, indexed, and model `m`, trained: a database to clone and a store to copy."""

    database: str
    home: Path

    def copied_to(self, home: Path) -> str:
        """The store is copied; the answer is the name of the database to clone."""
        shutil.copytree(self.home / "store", home / "store")
        return self.database


@pytest.fixture
def start() -> str:
    """The database that each test gets a clone of; a module that needs a trained model overrides this."""
    return "expunge"


@contextmanager
def cloned(postgres_url: str, start: str) -> Iterator[str]:
    """A database of its own, gone when the block ends."""
    name = f"test_{uuid4().hex}"
    administrate(postgres_url, f"CREATE DATABASE {name} TEMPLATE {start}")
    yield postgres_url.replace("/expunge?", f"/{name}?")
    administrate(postgres_url, f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture
def database_url(postgres_url: str, start: str) -> Iterator[str]:
    with cloned(postgres_url, start) as url:
        yield url


@pytest.fixture(scope="session")
def trained(postgres_url: str, keys_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Trained:
    name, home = f"trained_{uuid4().hex}", tmp_path_factory.mktemp("trained")
    administrate(postgres_url, f"CREATE DATABASE {name} TEMPLATE expunge")
    settings = Settings(
        home=home, database_url=postgres_url.replace("/expunge?", f"/{name}?"), keys=keys_dir,
        origin="test.example/log", device="cpu",
    )
    _fill(settings, tiny_parquet(home / "tiny.parquet"))
    return Trained(name, home)


def _fill(settings: Settings, file: Path) -> None:
    import torch

    from worker.jobs import Workshop, run

    torch.set_num_threads(1)
    app, workshop = create_app(settings), Workshop.of(settings)
    with TestClient(app) as api:
        indexed = api.post("/datasets", data={"name": "d"}, files={"file": file.read_bytes()}).json()
        model = api.post("/models", json=MODEL).json()
    for made in (indexed, model):
        run(workshop, made["job"]["id"])
    with transaction(workshop.engine) as tx:
        assert {job.status for job in tx.query(Job)} == {"succeeded"}
        tx.query(Outbox).delete()
    workshop.engine.dispose()
    app.state.context.engine.dispose()


@pytest.fixture
def workshop(settings: Settings) -> Iterator[Any]:
    """What a worker process has."""
    from worker.jobs import Workshop

    made = Workshop.of(settings)
    yield made
    made.engine.dispose()


@pytest.fixture
def base_url(settings: Settings) -> Iterator[str]:
    """The HTTP interface behind a real socket, for what an in-process client cannot see: streams and connections."""
    app = create_app(settings)
    server = uvicorn.Server(uvicorn.Config(app, host="127.0.0.1", port=0, log_level="warning", lifespan="off"))
    socket = server.config.bind_socket()
    socket.listen()     # who connects before the server takes over waits in line
    thread = threading.Thread(target=server.run, args=([socket],))
    thread.start()
    yield f"http://127.0.0.1:{socket.getsockname()[1]}"
    server.should_exit = True
    thread.join()
    socket.close()
    app.state.context.engine.dispose()


@pytest.fixture
def sql(engine: Engine) -> Callable[..., Any]:
    """One statement in a transaction of its own; its rows, if it has any."""
    from sqlalchemy import text

    def execute(statement: str, **values: Any) -> Any:
        with transaction(engine) as tx:
            done = tx.execute(text(statement), values)
            return done.all() if done.returns_rows else None

    return execute


@pytest.fixture
def other(database_url: str) -> Iterator[Engine]:
    """Another connection pool to the same database, as another process would have."""
    engine = connect(database_url, pool_size=8)
    yield engine
    engine.dispose()


@pytest.fixture(scope="module")
def log(tmp_path_factory: pytest.TempPathFactory) -> Log:
    """A deployment with one sealed certificate and what else was logged of its request, of which bundles are made."""
    made = keys.new(tmp_path_factory.mktemp("verify") / "keys", ORIGIN)
    return Log(made, seal(statement(), made.certificate), other_entries(made))


@pytest.fixture
def check(tmp_path: Path, log: Log) -> Callable[..., tuple[int | None, str]]:
    """Verify bytes as a bundle; (number of the failed step or None, its detail)."""

    def run(data: bytes, trust: str = log.keys.trust, **more: Any) -> tuple[int | None, str]:
        (tmp_path / "bundle.zip").write_bytes(data)
        last = verify.verify(tmp_path / "bundle.zip", trust, **more)[-1]
        return (None if last.ok else last.number), last.detail

    return run


@pytest.fixture
def model_id(engine: Engine) -> UUID:
    with transaction(engine) as tx:
        return add_model(tx)


@pytest.fixture
def run(workshop: Any) -> Callable[[str | UUID], None]:
    """A worker that gets one message."""
    from worker.jobs import run

    return lambda job_id: run(workshop, UUID(str(job_id)))


@pytest.fixture
def run_with(workshop: Any) -> Callable[..., None]:
    """A worker whose job calls back at its first read or write of the store."""
    from worker.jobs import run

    def run_with(job_id: str | UUID, on: str, call: Callable[[], object]) -> None:
        blobs = Tripwire(FileStore(workshop.settings.home / "store"), on, call)
        run(replace(workshop, store=Store(blobs)), UUID(str(job_id)))

    return run_with


@pytest.fixture(scope="session")
def s3() -> Iterator[str]:
    """An S3 server in this process."""
    from moto.server import ThreadedMotoServer  # half a second that most tests can do without

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture
def credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "nobody")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "nothing")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")


@pytest.fixture
def bucket(s3: str, credentials: None) -> Iterator[Any]:
    """A client of that server, which has the bucket `blobs` and nothing else."""
    import boto3

    with urlopen(f"{s3}/moto-api/reset", data=b""):     # noqa: S310  our own server
        pass
    client = boto3.client("s3", endpoint_url=s3)
    client.create_bucket(Bucket="blobs")
    yield client
    client.close()


@pytest.fixture(scope="session")
def forgotten(
    postgres_url: str, keys_dir: Path, tmp_path_factory: pytest.TempPathFactory, trained: Trained
) -> Trained:
    """Model `m` has forgotten person 1, and nothing is erased yet."""
    from worker.jobs import Workshop, run

    name, home = f"forgotten_{uuid4().hex}", tmp_path_factory.mktemp("forgotten")
    administrate(postgres_url, f"CREATE DATABASE {name} TEMPLATE {trained.copied_to(home)}")
    url = postgres_url.replace("/expunge?", f"/{name}?")
    settings = Settings(home=home, database_url=url, keys=keys_dir, origin="test.example/log", device="cpu")
    app, workshop = create_app(settings), Workshop.of(settings)
    with TestClient(app) as api:
        run(workshop, UUID(ask(api, "subjects", [person(1)]).json()["job_id"]))
    workshop.engine.dispose()
    app.state.context.engine.dispose()
    return Trained(name, home)


@pytest.fixture
def erase(run: Callable[[Any], None], sql: Callable[..., Any], api: TestClient) -> Erase:
    """Every grace is over, and a worker does what is due; the jobs as they are then."""

    def over() -> list[dict[str, Any]]:
        due = [job_id for job_id, _ in sorted(sql(DUE), key=lambda row: row[1])]
        for job_id in due:
            run(job_id)
        return [api.get(f"/jobs/{job_id}").json() for job_id in due]

    return over


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Keys of its own for a test that changes them."""
    keys.new(tmp_path / "keys", ORIGIN)
    return tmp_path / "keys"
