"""The embedded service: servers from wheels, API, scheduler and one worker, started and ended together."""

import fcntl
import socket
from collections.abc import Generator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import httpx

from service.db.migrate import upgrade
from service.db.session import connect
from service.embedded import postgres, redis
from service.errors import Conflict, Unavailable
from service.ledger import keys
from service.processes import Child
from service.settings import Settings, inherited

PATIENCE_S = 30


@dataclass(frozen=True)
class Stack:
    """A running service."""

    url: str
    home: Path
    children: tuple[Child, ...]

    def revive(self) -> list[str]:
        """Start again what has died; returns the names."""
        return [child.name for child in self.children if child.revive()]


@contextmanager
def stack(settings: Settings) -> Generator[Stack]:
    """Everything that is needed to serve; all of it has ended when the block has."""
    home = settings.home.absolute()
    home.mkdir(parents=True, exist_ok=True)
    with ExitStack() as cleanup:
        cleanup.enter_context(_alone(home))
        urls = cleanup.enter_context(_servers(settings, home))
        _prepare(settings, home, urls["EXPUNGE_DATABASE_URL"])
        listener = cleanup.enter_context(_listener(settings))
        children = _children(settings, home, urls, listener)
        for child in children:
            child.start()
            cleanup.callback(child.stop)
        url = "http://{}:{}".format(*listener.getsockname()[:2])
        _await_ready(url, children[0])
        yield Stack(url, home, children)


@contextmanager
def _alone(home: Path) -> Generator[None]:
    """One stack per home: the lock goes with the process, however it ends."""
    with (home / "lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise Conflict("Another `expunge up` is running on this home; stop it, or set EXPUNGE_HOME") from None
        yield


@contextmanager
def _servers(settings: Settings, home: Path) -> Generator[dict[str, str]]:
    with ExitStack() as cleanup:
        database, broker = settings.database_url, settings.broker_url
        yield {
            "EXPUNGE_DATABASE_URL": database.get_secret_value()
            if database
            else cleanup.enter_context(postgres(home / "postgres")),
            "EXPUNGE_BROKER_URL": broker.get_secret_value() if broker else cleanup.enter_context(redis(home / "redis")),
        }


def _prepare(settings: Settings, home: Path, database_url: str) -> None:
    engine = connect(database_url, pool_size=1)
    upgrade(engine)
    engine.dispose()
    folder = settings.keys or home / "keys"
    if not folder.exists():
        keys.new(
            folder, settings.origin, certificate_signer=settings.certificate_signer, log_signer=settings.log_signer
        )
    (home / "log").mkdir(exist_ok=True)


@contextmanager
def _listener(settings: Settings) -> Generator[socket.socket]:
    """Bound before the API starts, so that its address is known and nobody can take it in between."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((settings.host, settings.port))
        listener.listen(512)
        yield listener


def _children(
    settings: Settings, home: Path, urls: dict[str, str], listener: socket.socket
) -> tuple[Child, Child, Child]:
    env = inherited() | settings.environment() | urls | {"EXPUNGE_HOME": str(home)}
    fd = listener.fileno()
    api = ("service.cli", "api", "--fd", str(fd))
    return (
        Child("api", api, env, home / "log" / "api.log", pass_fds=(fd,)),
        Child("scheduler", ("service.cli", "scheduler"), env, home / "log" / "scheduler.log"),
        Child("worker", ("worker.cli", "run"), env, home / "log" / "worker.log"),
    )


def _await_ready(url: str, api: Child) -> None:
    """The socket listens already, so a request waits for the process, unless that has died."""
    with httpx.Client(base_url=url, timeout=1) as client:
        for _ in range(PATIENCE_S):
            with suppress(httpx.TransportError):
                if client.get("/readyz").is_success:
                    return
            if api.process is None or api.process.poll() is not None:
                break
    raise Unavailable(f"The API did not become ready; see {api.log.name} in the home's log folder")
