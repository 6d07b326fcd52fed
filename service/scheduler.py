"""The loop that moves what is due: outbox → broker, lost jobs → queue, inbox → ledger → files and anchors.

Any number may run.
"""

import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from datetime import timedelta

import psycopg
import structlog
from kombu.exceptions import OperationalError as BrokerError
from sqlalchemy import Engine
from sqlalchemy.exc import OperationalError as DatabaseError

from service import queue
from service.db import jobs, outbox, reaping
from service.db.session import connect, transaction
from service.errors import ExpungeError, UnusableDatabase
from service.ledger import anchors, failures
from service.ledger.keyring import Keyring
from service.ledger.keys import Keys
from service.ledger.publishing import FOLDER, publish
from service.ledger.sequencer import drain
from service.log import where
from service.queue import make_app
from service.settings import Settings
from service.storage import open_store

log = structlog.get_logger()
SILENT_FOR = timedelta(minutes=2)       # a queued job without a fresh message gets a new one


def relay(engine: Engine, send: Callable[[outbox.Outbox], None]) -> None:
    with transaction(engine) as tx:
        outbox.relay(tx, send)


def reap(engine: Engine, signers: Keys) -> None:
    """Jobs whose worker is gone are queued again or have failed; their requests are told."""
    with transaction(engine) as tx:
        for job in [*reaping.reap(tx), *reaping.fail_dependents(tx)]:
            failures.settle(tx, job, cancelled=job.cancel_requested, keys=signers)
        reaping.resend(tx, silent_for=SILENT_FOR)


Step = Callable[[], object]


def run(settings: Settings, *, stop: threading.Event, every_s: float = 1.0) -> None:
    """Work until told to stop: at once when the outbox is written to, and every second anyway.

    Raises:
        BadInput: a setting is not usable; nothing was begun.
    """
    if settings.database_url is None:
        raise ValueError("EXPUNGE_DATABASE_URL is not set")
    url = settings.database_url.get_secret_value()
    app, ring = make_app(settings), Keyring.of(settings)
    engine, tree = connect(url, role="expunge_app", pool_size=2), connect(url, role="expunge_sequencer", pool_size=3)
    here: Mapping[str, Step] = {
        "reap": lambda: reap(engine, ring.keys),
        "relay": lambda: relay(engine, lambda message: queue.publish(app, message)),
        "order": lambda: drain(tree, ring, settings.origin),
    }
    outside = threading.Thread(target=_repeat, args=(_outside(settings, tree), stop, every_s), name="outside")
    outside.start()
    try:
        _tick_until(stop, url, here, every_s)
    finally:
        stop.set()
        outside.join()
        engine.dispose()
        tree.dispose()


def _outside(settings: Settings, tree: Engine) -> Mapping[str, Step]:
    """What depends on the servers of others; each may take its time, and no job waits for it."""
    files = open_store(settings.store, endpoint=settings.s3_endpoint).named(FOLDER)
    kept, every = anchors.read(settings.anchors, endpoint=settings.s3_endpoint), settings.anchor_every_s
    return {
        "publish": lambda: publish(tree, files, settings.origin),
        "anchor": lambda: anchors.anchor(tree, kept, every=timedelta(seconds=every)),
    }


def _repeat(steps: Mapping[str, Step], stop: threading.Event, every_s: float) -> None:
    while not stop.wait(every_s):
        for name, step in steps.items():
            with suppress(UnusableDatabase):        # the loop beside this one ends for the same reason
                _attempt(name, step)


def _attempt(name: str, step: Step) -> None:
    """A broker that is away must not stop the ledger, nor a broken ledger the jobs, nor a full disk either."""
    try:
        step()
    except UnusableDatabase:
        raise
    except ExpungeError as error:
        log.error("step.failed", step=name, error=error.slug, detail=error.detail)      # noqa: TRY400
    except (BrokerError, DatabaseError) as error:
        log.warning("step.failed", step=name, error=type(error).__name__)
    except Exception as error:
        log.error("step.failed", step=name, error=type(error).__name__, where=where(error))     # noqa: TRY400


def _tick_until(stop: threading.Event, url: str, steps: Mapping[str, Step], every_s: float) -> None:
    while not stop.is_set():
        try:
            _tick_on_wake(url, steps, stop, every_s)
        except (DatabaseError, psycopg.OperationalError) as error:
            log.warning("scheduler.waits", error=type(error).__name__)
            stop.wait(every_s)


def _tick_on_wake(url: str, steps: Mapping[str, Step], stop: threading.Event, every_s: float) -> None:
    with psycopg.connect(url.replace("+psycopg", "", 1), autocommit=True) as listener:
        listener.execute(f"LISTEN {jobs.WAKE}".encode())
        while not stop.is_set():
            for name, step in steps.items():
                _attempt(name, step)
            for _ in listener.notifies(timeout=every_s, stop_after=1):
                pass
