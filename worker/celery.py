"""The thin shell around jobs.run: the app, and one task. Start it with `expunge-worker run`."""

from functools import cache
from uuid import UUID

from celery.signals import setup_logging, worker_process_init

from service import log
from service.queue import TASK, make_app
from service.settings import Settings
from worker import trust

settings = Settings()
app = make_app(settings)


@cache
def workshop():     # imported late, so that Celery's parent process stays free of torch
    """Made once per process, in the pool's child."""
    from worker.jobs import Workshop

    trust.allow(settings.packages)
    return Workshop.of(settings)


@app.task(name=TASK)
def run(job_id: str) -> None:
    """Do one job; the row decides whether there is anything to do."""
    from worker.jobs import run as run_job

    run_job(workshop(), UUID(job_id))


@setup_logging.connect
def _log(**_: object) -> None:
    log.set_up(settings.log_level)


@worker_process_init.connect
def _warm(**_: object) -> None:
    """Import torch and connect before the first job comes."""
    log.set_up(settings.log_level)
    workshop()


def serve(queues: str) -> None:
    """Work on these queues, one job at a time, until told to stop."""
    quiet = ("--without-gossip", "--without-mingle", "--without-heartbeat")
    app.worker_main(["worker", "--concurrency=1", f"--queues={queues}", f"--loglevel={settings.log_level}", *quiet])
