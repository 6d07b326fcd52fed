"""The heartbeat: keeps a claim alive from its own thread and connection while tensors move."""

import threading
from datetime import timedelta
from time import monotonic
from types import TracebackType
from typing import Any, Self

from sqlalchemy import Engine
from sqlalchemy.exc import OperationalError

from service.db import jobs
from service.db.jobs import Claim
from service.db.session import transaction
from service.errors import Cancelled, LostLease

BEATS_PER_LEASE = 3
EVERY_S = 0.5       # often enough for a progress bar


class Pulse:
    """Beats until the block ends; the work asks `step` whether it may go on."""

    def __init__(self, engine: Engine, claim: Claim, *, lease: timedelta) -> None:
        self._engine, self._claim, self._lease = engine, claim, lease
        self._progress: dict[str, Any] = {}
        self._cancelled, self._lost, self._over = threading.Event(), threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._beat, name="pulse", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self._over.set()
        self._thread.join()

    def phase(self, name: str) -> "Phase":
        """A part of the work; call it as on_step(done, total)."""
        return Phase(self, name)

    def step(self, progress: dict[str, Any]) -> None:
        """Note the progress.

        Raises:
            LostLease, Cancelled: stop at once.
        """
        self._progress = progress
        if self._lost.is_set():
            raise LostLease("The lease of this job has passed to another worker")
        if self._cancelled.is_set():
            raise Cancelled("The job was asked to stop")

    def _beat(self) -> None:
        alive = monotonic()
        while not self._over.wait(min(EVERY_S, self._lease.total_seconds() / BEATS_PER_LEASE)):
            try:
                self._beat_once()
            except LostLease:
                self._lost.set()
                return
            except OperationalError:        # the database is away: go on until the lease must be over
                if monotonic() - alive > self._lease.total_seconds():
                    self._lost.set()
                    return
            else:
                alive = monotonic()

    def _beat_once(self) -> None:
        with transaction(self._engine) as tx:
            if jobs.beat(tx, self._claim, lease=self._lease, progress=self._progress):
                self._cancelled.set()


class Phase:
    """What a method, a training or an audit reports its steps to."""

    def __init__(self, pulse: Pulse, name: str) -> None:
        self._pulse, self._name = pulse, name

    def __call__(self, done: int, total: int) -> None:
        self._pulse.step({"phase": self._name, "done": done, "total": total})
