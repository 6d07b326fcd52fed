"""What the tests of the HTTP interface and of jobs share: the model, questions, and a look at everything stored."""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, BinaryIO, TypeVar

from sqlalchemy import Engine, text
from starlette.testclient import TestClient

from service import scheduler
from service.db.session import transaction
from service.db.tables import Base
from service.ledger import keys
from service.storage import Blobs
from tests.tiny import MODEL as TINY

AUDIT = {"permutations": 99, "bootstrap": 99}
MODEL: dict[str, Any] = TINY | {"policy": {"audit": AUDIT}}
T = TypeVar("T")


def ask(api: TestClient, kind: str, ids: list[Any], *, headers: dict[str, str] | None = None, **more: Any) -> Any:
    """Post a deletion request on model `m`."""
    body = {"model": "m", "target": {"kind": kind, "ids": ids}, **more}
    return api.post("/deletion-requests", json=body, headers=headers)


def person(number: int) -> str:
    return f"person-train-{number}"


def stored(engine: Engine) -> dict[str, list[str]]:
    """Every row of every table, as text."""
    with transaction(engine) as tx:
        return {
            name: list(tx.scalars(text(f'SELECT t::text FROM "{name}" t ORDER BY 1')))  # noqa: S608  our own names
            for name in Base.metadata.tables
        }


def files(home: Path) -> set[str]:
    """Every file of the store."""
    return {str(path.relative_to(home)) for path in home.rglob("*") if path.is_file()}


def together(n: int, do: Callable[[int], T]) -> list[T]:
    """Do it n times at once; the results in order."""
    with ThreadPoolExecutor(n) as pool:
        return list(pool.map(do, range(n)))


@cache
def _signers() -> keys.Keys:
    with TemporaryDirectory(prefix="expunge-test-") as folder:
        return keys.new(Path(folder) / "keys", "test.example/log")


def reap(engine: Engine) -> None:
    """What the scheduler does with lost jobs, with keys of its own."""
    scheduler.reap(engine, _signers())


class Tripwire:
    """Blobs that call back once, just before the first read or write of theirs: a place inside a running job."""

    def __init__(self, blobs: Blobs, on: str, call: Callable[[], object]) -> None:
        self._blobs, self._on, self._call = blobs, on, call

    def _pass(self, what: str) -> None:
        if what == self._on:
            self._on = ""
            self._call()

    def write(self, name: str, data: BinaryIO, *, public: bool = False) -> None:
        self._pass("write")
        self._blobs.write(name, data, public=public)

    def replace(self, name: str, data: BinaryIO) -> None:
        self._pass("replace")
        self._blobs.replace(name, data)

    def read(self, name: str) -> Iterator[bytes]:
        self._pass("read")
        return self._blobs.read(name)

    def has(self, name: str) -> bool:
        return self._blobs.has(name)

    def names(self, folder: str) -> Iterator[str]:
        return self._blobs.names(folder)

    def remove(self, name: str) -> None:
        self._blobs.remove(name)
