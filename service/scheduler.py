"""The loop that moves what is due: outbox → broker, lost jobs → queue, inbox → ledger. Any number may run."""

import threading
from collections.abc import Callable, Sequence
from datetime import timedelta

import psycopg
import structlog
from kombu.exceptions import OperationalError as BrokerError
from sqlalchemy import Engine
from sqlalchemy.exc import OperationalError as DatabaseError

from service.db import jobs, outbox, reaping
from service.db.session import connect, transaction
from service.errors import LedgerBroken
from service.ledger import failures, keys
from service.ledger.sequencer import sequence
from service.queue import make_app, publish
from service.settings import Settings

log = structlog.get_logger()
SILENT_FOR = timedelta(minutes=2)       # a queued job without a fresh message gets a new one


def relay(engine: Engine, send: Callable[[outbox.Outbox], None]) -> None:
    with transaction(engine) as tx:
        outbox.relay(tx, send)


def reap(engine: Engine, signers: keys.Keys) -> None:
    """Jobs whose worker is gone are queued again or have failed; their requests are told."""
    with transaction(engine) as tx:
        for job in [*reaping.reap(tx), *reaping.fail_dependents(tx)]:
            failures.settle(tx, job, cancelled=job.cancel_requested, keys=signers)
        reaping.resend(tx, silent_for=SILENT_FOR)


def run(settings: Settings, *, stop: threading.Event, every_s: float = 1.0) -> None:
    """Work until told to stop: at once when the outbox is written to, and every second anyway."""
    if settings.database_url is None:
        raise ValueError("EXPUNGE_DATABASE_URL is not set")
    url = settings.database_url.get_secret_value()
    app, signers = make_app(settings), keys.load(settings.keys_dir)
    engine, tree = connect(url, role="expunge_app", pool_size=2), connect(url, role="expunge_sequencer", pool_size=1)

    def order() -> None:
        with transaction(tree) as tx:
            sequence(tx, signers, settings.origin)

    steps = (lambda: reap(engine, signers), lambda: relay(engine, lambda message: publish(app, message)), order)
    while not stop.is_set():
        try:
            _tick_on_wake(url, steps, stop, every_s)
        except (DatabaseError, psycopg.OperationalError) as error:
            log.warning("scheduler.waits", error=type(error).__name__)
            stop.wait(every_s)
    engine.dispose()
    tree.dispose()


Step = Callable[[], None]


def _attempt(step: Step) -> None:
    """A broker that is away must not stop the ledger, nor a broken ledger the jobs."""
    try:
        step()
    except BrokerError as error:
        log.warning("broker.away", error=type(error).__name__)
    except LedgerBroken as error:
        log.error("ledger.broken", detail=error.detail)     # noqa: TRY400


def _tick_on_wake(url: str, steps: Sequence[Step], stop: threading.Event, every_s: float) -> None:
    with psycopg.connect(url.replace("+psycopg", "", 1), autocommit=True) as listener:
        listener.execute(f"LISTEN {jobs.WAKE}".encode())
        while not stop.is_set():
            for step in steps:
                _attempt(step)
            for _ in listener.notifies(timeout=every_s, stop_after=1):
                pass
