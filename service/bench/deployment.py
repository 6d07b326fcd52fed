"""A deployment to measure: PostgreSQL from the wheel, as durable as in production, and keys; gone when it is over."""

import tempfile
from base64 import b64encode
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import LiteralString

import psycopg
from psycopg import sql
from sqlalchemy import Engine, text

from service.db.migrate import upgrade
from service.db.session import Role, connect
from service.embedded import DATABASE, postgres
from service.errors import Conflict
from service.ledger import keys

ORIGIN = "bench.example/log"


@dataclass(frozen=True, slots=True)
class Deployment:
    """One server; every part is measured in a database of its own, so that none finds the dust of another."""

    url: str        # of a migrated database that stays empty
    folder: Path    # what a part writes; `keys` is in it

    @property
    def keys(self) -> keys.Keys:
        return keys.load(self.folder / "keys")

    def database(self, name: LiteralString) -> str:
        """The URL of a fresh database."""
        with psycopg.connect(self._of("postgres").replace("+psycopg", "", 1), autocommit=True) as admin:
            admin.execute(sql.SQL("DROP DATABASE IF EXISTS {}").format(sql.Identifier(name)))
            made = sql.SQL("CREATE DATABASE {} TEMPLATE {}")
            admin.execute(made.format(sql.Identifier(name), sql.Identifier(DATABASE)))
        return self._of(name)

    def _of(self, name: str) -> str:
        return self.url.replace(f"/{DATABASE}?", f"/{name}?")


@contextmanager
def deployment() -> Generator[Deployment]:
    """A server in a temporary folder, migrated.

    Raises:
        Conflict: it would lose what it has promised to keep, so that its numbers would be worth nothing.
    """
    with tempfile.TemporaryDirectory(prefix="expunge-bench-") as name, postgres(Path(name) / "postgres") as url:
        with opened(url) as engine:
            upgrade(engine)
            with engine.connect() as connection:
                asked = [connection.scalar(text(f"SHOW {each}")) for each in ("fsync", "synchronous_commit")]
        if asked != ["on", "on"]:
            raise Conflict("The server does not wait for its disk: fsync and synchronous_commit have to be on")
        folder = Path(name) / "work"
        folder.mkdir()
        keys.new(folder / "keys", ORIGIN)
        yield Deployment(url, folder)


@contextmanager
def opened(url: str, role: Role | None = None) -> Generator[Engine]:
    """One connection's engine, closed when the block ends."""
    engine = connect(url, role=role, pool_size=1)
    yield engine
    engine.dispose()


def envelope(number: int, size: int) -> bytes:
    """Something of an envelope's length and look, that no compression shortens; the same number, the same bytes.

    Nobody on an entry's way into the tree reads it, so it bears no signature.
    """
    head = b'{"number":%d,"payload":"' % number
    start = number * 977 % _WORTH
    return head + _NOISE[start : start + size - len(head) - 2] + b'"}'


_WORTH = 2**20
_NOISE = b64encode(Random(0).randbytes(_WORTH))     # a third longer, which is more than any envelope
