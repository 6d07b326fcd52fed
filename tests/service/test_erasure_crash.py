"""A worker that dies anywhere in an erasure is followed by one that comes to the same end."""

import shutil
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, BinaryIO

import pytest
from sqlalchemy import Engine, event, text

from service.db.session import connect, transaction
from service.scheduler import reap
from service.settings import Settings
from service.storage import Blobs, FileStore, Store
from tests.service.conftest import Trained, cloned
from tests.service.erasures import DUE, LOST, statement
from tests.service.world import files


class Killed(BaseException):
    """What kill -9 does: nothing catches it, and nothing is tidied up."""


class Fate:
    """Counts the places before which a worker may die, and kills it at one: between two of them nothing is done."""

    def __init__(self, at: int | None) -> None:
        self.at, self.seen = at, 0

    def pass_(self, *_: object) -> None:
        if threading.current_thread() is not threading.main_thread():
            return      # the heartbeat
        self.seen += 1
        if self.seen == self.at:
            raise Killed


class Mortal:
    """Blobs of a worker that may die before each operation."""

    def __init__(self, blobs: Blobs, fate: Fate) -> None:
        self._blobs, self._fate = blobs, fate

    def write(self, name: str, data: BinaryIO, *, public: bool = False) -> None:
        self._fate.pass_()
        self._blobs.write(name, data, public=public)

    def read(self, name: str) -> Iterator[bytes]:
        return self._blobs.read(name)

    def replace(self, name: str, data: BinaryIO) -> None:
        self._fate.pass_()
        self._blobs.replace(name, data)

    def has(self, name: str) -> bool:
        return self._blobs.has(name)

    def names(self, folder: str) -> Iterator[str]:
        return self._blobs.names(folder)

    def remove(self, name: str) -> None:
        self._fate.pass_()
        self._blobs.remove(name)


@pytest.fixture
def life(postgres_url: str, settings: Settings, forgotten: Trained, tmp_path: Path) -> Any:
    """One erasure in a world of its own, whose first worker dies at a place; returns how it ended, and the places."""

    def live(at: int | None) -> tuple[dict[str, Any], int]:
        home = tmp_path / f"life-{at}"
        shutil.copytree(forgotten.home / "store", home / "store")
        with cloned(postgres_url, forgotten.database) as url:
            world = settings.model_copy(update={"home": home, "database_url": type(settings.database_url)(url)})
            return _erased(world, at)

    return live


def _erased(settings: Settings, at: int | None) -> tuple[dict[str, Any], int]:
    from worker.jobs import Workshop, run

    engine, workshop, fate = connect(settings.database_url.get_secret_value()), Workshop.of(settings), Fate(at)
    with transaction(engine) as tx:
        job_id = tx.execute(text(DUE)).one()[0]
    event.listen(workshop.engine, "commit", fate.pass_)
    mortal = replace(workshop, store=Store(Mortal(FileStore(settings.home / "store"), fate)))
    try:
        run(mortal, job_id)
    except Killed:
        with transaction(engine) as tx:
            tx.execute(text(LOST))
        reap(engine, workshop.keys)
        run(workshop, job_id)
    end = _end(engine, settings.home)
    workshop.engine.dispose()
    engine.dispose()
    return end, fate.seen


def _end(engine: Engine, home: Path) -> dict[str, Any]:
    """All that an erasure changes, without times and fresh ids."""
    looks = {
        "samples": "SELECT md5(string_agg(s::text, ',' ORDER BY row)) FROM sample s",
        "dataset": "SELECT file_key, tensors_key, facts FROM dataset",
        "versions": "SELECT number, weights_key, erased_at IS NULL FROM model_version ORDER BY number",
        "purged": "SELECT kind, store_key, outcome, done_at IS NULL FROM purge ORDER BY kind, store_key",
        "suppressed": "SELECT ref FROM suppressed ORDER BY ref",
        "told": "SELECT kind, data FROM request_event WHERE kind = 'erased'",
        "jobs": "SELECT kind, status, result, error FROM job WHERE kind = 'erase'",
    }
    with transaction(engine) as tx:
        found = {name: [tuple(row) for row in tx.execute(text(look))] for name, look in looks.items()}
        entries = tx.scalars(text("SELECT envelope FROM ledger_inbox WHERE kind = 'erasure'")).all()
    told = [statement(bytes(each))["predicate"] | {"at": None} for each in entries]
    return {**found, "entries": told, "files": files(home / "store")}


@pytest.mark.slow
def test_a_worker_that_is_killed_at_any_place_changes_nothing_of_the_end(life: Any) -> None:
    whole, places = life(None)

    ends = {at: life(at)[0] for at in range(1, places + 1)}

    assert whole["jobs"][0][1] == "succeeded"
    assert (len(whole["entries"]), len(whole["purged"])) == (1, 3)
    assert places > 10
    assert [at for at, end in ends.items() if end != whole] == []
