"""The heartbeat of a job: it keeps the lease, carries progress, and tells the work when to stop."""

from collections.abc import Callable, Iterator
from datetime import timedelta
from threading import Event

import pytest
from sqlalchemy import Engine, text

from service.db import jobs
from service.db.jobs import Claim
from service.db.session import transaction
from service.db.tables import Job
from service.errors import Cancelled, LostLease
from worker.jobs.pulse import Pulse

LEASE = timedelta(seconds=0.6)
PATIENCE = 200      # looks, a twentieth of a second apart


@pytest.fixture
def claim(engine: Engine) -> Claim:
    with transaction(engine) as tx:
        job = jobs.add(tx, "index", max_attempts=3)
        held = jobs.claim(tx, job.id, lease=LEASE)
    assert held is not None
    return held


@pytest.fixture
def pulse(engine: Engine, claim: Claim) -> Iterator[Pulse]:
    with Pulse(engine, claim, lease=LEASE) as pulse:
        yield pulse


def job(engine: Engine, claim: Claim) -> Job:
    with transaction(engine) as tx:
        return jobs.get(tx, claim.job_id)


def steps_until(step: Callable[[int, int], None], stop: Callable[[], bool] = lambda: False) -> int:
    """Works in small steps until something stops it; the number of steps."""
    pause = Event()
    for done in range(PATIENCE):
        if stop():
            return done
        step(done, PATIENCE)
        pause.wait(0.05)
    raise AssertionError("nothing stopped the work")


def test_progress_is_written_while_the_work_goes_on(engine: Engine, claim: Claim, pulse: Pulse) -> None:
    steps_until(pulse.phase("train"), lambda: bool(job(engine, claim).progress))

    seen = job(engine, claim).progress
    assert (seen["phase"], seen["total"]) == ("train", PATIENCE)


def test_a_lease_is_extended_for_as_long_as_the_work_takes(engine: Engine, claim: Claim, pulse: Pulse) -> None:
    first = job(engine, claim).lease_until
    assert first is not None

    steps_until(pulse.phase("train"), lambda: (job(engine, claim).lease_until or first) > first + 2 * LEASE)

    assert job(engine, claim).status == "running"


def test_the_work_is_told_when_the_job_shall_stop(engine: Engine, claim: Claim, pulse: Pulse) -> None:
    with transaction(engine) as tx:
        jobs.cancel(tx, claim.job_id)

    with pytest.raises(Cancelled):
        steps_until(pulse.phase("train"))


def test_the_work_is_told_when_another_worker_has_the_job(engine: Engine, claim: Claim, pulse: Pulse) -> None:
    with transaction(engine) as tx:
        tx.execute(text("UPDATE job SET fence = fence + 1"))

    with pytest.raises(LostLease):
        steps_until(pulse.phase("train"))


def test_no_beat_comes_after_the_end(engine: Engine, claim: Claim) -> None:
    with Pulse(engine, claim, lease=LEASE) as pulse:
        pulse.phase("train")(1, 2)
    before = job(engine, claim).lease_until

    Event().wait(LEASE.total_seconds())

    assert job(engine, claim).lease_until == before


def test_a_database_that_is_away_for_longer_than_the_lease_ends_the_work(claim: Claim) -> None:
    from service.db.session import connect

    nowhere = connect("postgresql+psycopg://nobody@127.0.0.1:1/none")

    with Pulse(nowhere, claim, lease=LEASE) as pulse, pytest.raises(LostLease):
        steps_until(pulse.phase("train"))
