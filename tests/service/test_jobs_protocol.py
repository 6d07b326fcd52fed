"""Claim, beat, hold, finish, reap: who may write on behalf of a job, and when."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest
from sqlalchemy import Engine
from sqlalchemy.exc import IntegrityError

from service.db import jobs
from service.db.jobs import Claim
from service.db.session import transaction
from service.db.tables import DeletionRequest, Job
from service.errors import LostLease
from tests.service.world import reap, stored, together

LEASE = timedelta(minutes=1)
LOST = "UPDATE job SET lease_until = clock_timestamp() - interval '1 second' WHERE id = :id"


@pytest.fixture
def add(engine: Engine, model_id: UUID) -> Callable[..., UUID]:
    """A queued job of the model."""

    def add(kind: jobs.Kind = "unlearn", *, max_attempts: int = 3, after_id: UUID | None = None, **more: Any) -> UUID:
        with transaction(engine) as tx:
            more = {"model_id": model_id} | more
            return jobs.add(tx, kind, max_attempts=max_attempts, after_id=after_id, **more).id

    return add


@pytest.fixture
def request_of(engine: Engine, model_id: UUID, sql: Any) -> Callable[[UUID], UUID]:
    """A request that a job serves."""

    def request_of(job_id: UUID) -> UUID:
        with transaction(engine) as tx:
            now = sql("SELECT clock_timestamp()")[0][0]
            request = DeletionRequest(
                id=uuid4(), model_id=model_id, state="scheduled", target_kind="samples", n_targets=1, n_samples=1,
                ground="other", forget_root=b"\0" * 32, received_at=now, due_at=now, due_basis="-", job_id=job_id,
            )
            tx.add(request)
            return request.id

    return request_of


def claim(engine: Engine, job_id: UUID) -> Claim | None:
    """As a worker does it: the loser of a race for the model hears of it from a constraint."""
    try:
        with transaction(engine) as tx:
            return jobs.claim(tx, job_id, lease=LEASE)
    except IntegrityError:
        return None


def claimed(engine: Engine, job_id: UUID) -> Claim:
    held = claim(engine, job_id)
    assert held is not None
    return held


def finish(engine: Engine, held: Claim, status: jobs.End = "succeeded") -> None:
    with transaction(engine) as tx:
        jobs.finish(tx, held, status=status)


def job(engine: Engine, job_id: UUID) -> Job:
    with transaction(engine) as tx:
        return jobs.get(tx, job_id)


def test_of_eight_that_claim_one_job_exactly_one_wins(other: Engine, add: Callable[..., UUID]) -> None:
    job_id = add()

    held = together(8, lambda _: claim(other, job_id))

    assert [each for each in held if each] == [Claim(job_id, 1)]
    assert job(other, job_id).attempt == 1


def test_of_eight_jobs_of_one_model_claimed_at_once_one_runs(other: Engine, add: Callable[..., UUID]) -> None:
    ids = [add() for _ in range(8)]

    held = together(8, lambda n: claim(other, ids[n]))

    assert len([each for each in held if each]) == 1
    assert sorted(job(other, each).status for each in ids) == ["queued"] * 7 + ["running"]


def test_jobs_without_a_model_run_side_by_side(engine: Engine, add: Callable[..., UUID]) -> None:
    ids = [add("index", model_id=None) for _ in range(2)]

    held = [claim(engine, each) for each in ids]

    assert all(held)


def test_a_job_that_runs_is_not_claimed_again_while_its_lease_lasts(engine: Engine, add: Callable[..., UUID]) -> None:
    job_id = add()
    claimed(engine, job_id)

    assert claim(engine, job_id) is None


def test_an_expired_lease_can_be_claimed_with_a_new_fence(engine: Engine, add: Callable[..., UUID], sql: Any) -> None:
    job_id = add()
    claimed(engine, job_id)
    sql(LOST, id=job_id)

    assert claim(engine, job_id) == Claim(job_id, 2)


@pytest.mark.parametrize("status", ["succeeded", "failed", "cancelled"])
def test_what_is_over_is_never_claimed_again(engine: Engine, add: Callable[..., UUID], status: jobs.End) -> None:
    job_id = add()
    finish(engine, claimed(engine, job_id), status)

    assert claim(engine, job_id) is None


def test_a_job_is_started_no_more_often_than_its_cap(engine: Engine, add: Callable[..., UUID], sql: Any) -> None:
    job_id = add(max_attempts=2)
    for _ in range(2):
        claimed(engine, job_id)
        sql(LOST, id=job_id)

    assert claim(engine, job_id) is None


def beat(tx: Any, held: Claim) -> None:
    jobs.beat(tx, held, lease=LEASE, progress={"done": 7})


def hold(tx: Any, held: Claim) -> None:
    jobs.hold(tx, held)


def succeed(tx: Any, held: Claim) -> None:
    jobs.finish(tx, held, status="succeeded", result={"n": 7})


def let_go(tx: Any, held: Claim) -> None:
    jobs.postpone(tx, held, error="late", wait=LEASE)


@pytest.mark.parametrize("act", [beat, hold, succeed, let_go])
def test_whoever_lost_the_lease_changes_nothing(
    engine: Engine, add: Callable[..., UUID], sql: Any, act: Callable[[Any, Claim], None]
) -> None:
    job_id = add()
    stale = claimed(engine, job_id)
    sql(LOST, id=job_id)
    claimed(engine, job_id)
    before = stored(engine)

    with pytest.raises(LostLease), transaction(engine) as tx:
        act(tx, stale)

    assert stored(engine) == before


@pytest.mark.parametrize("act", [beat, hold, succeed, let_go])
def test_nobody_writes_for_a_job_that_is_over(
    engine: Engine, add: Callable[..., UUID], act: Callable[[Any, Claim], None]
) -> None:
    held = claimed(engine, add())
    finish(engine, held)
    before = stored(engine)

    with pytest.raises(LostLease), transaction(engine) as tx:
        act(tx, held)

    assert stored(engine) == before


def test_a_beat_extends_the_lease_and_tells_of_a_wish_to_stop(engine: Engine, add: Callable[..., UUID]) -> None:
    job_id = add()
    held = claimed(engine, job_id)
    lease = job(engine, job_id).lease_until

    with transaction(engine) as tx:
        before = jobs.beat(tx, held, lease=LEASE, progress={"done": 1})
    with transaction(engine) as tx:
        jobs.cancel(tx, job_id)
    with transaction(engine) as tx:
        after = jobs.beat(tx, held, lease=LEASE, progress={"done": 2})

    assert (before, after) == (False, True)
    assert job(engine, job_id).lease_until > lease
    assert job(engine, job_id).progress == {"done": 2}


def test_the_reaper_leaves_a_job_alone_while_its_lease_lasts(engine: Engine, add: Callable[..., UUID]) -> None:
    job_id = add()
    claimed(engine, job_id)
    before = stored(engine)

    reap(engine)

    assert job(engine, job_id).status == "running"
    assert stored(engine) == before


def test_the_reaper_queues_again_what_lost_its_worker(engine: Engine, add: Callable[..., UUID], sql: Any) -> None:
    job_id = add()
    claimed(engine, job_id)
    sql("DELETE FROM outbox")
    sql(LOST, id=job_id)

    reap(engine)

    assert job(engine, job_id).status == "queued"
    assert sql("SELECT job_id FROM outbox WHERE sent_at IS NULL") == [(job_id,)]
    assert claim(engine, job_id) == Claim(job_id, 2)


def test_the_reaper_fails_a_job_at_its_cap_with_its_request(
    engine: Engine, add: Callable[..., UUID], request_of: Callable[[UUID], UUID], sql: Any
) -> None:
    job_id = add(max_attempts=2)
    request_id = request_of(job_id)
    for _ in range(2):
        claimed(engine, job_id)
        sql(LOST, id=job_id)
        reap(engine)

    ended = job(engine, job_id)

    assert (ended.status, ended.error) == ("failed", "Its worker was lost (attempt 2 of 2)")
    assert sql("SELECT state FROM deletion_request") == [("failed",)]
    assert sql("SELECT kind FROM request_event WHERE request_id = :id", id=request_id) == [("failed",)]


def test_a_lost_job_that_was_asked_to_stop_ends_cancelled(
    engine: Engine, add: Callable[..., UUID], request_of: Callable[[UUID], UUID], sql: Any
) -> None:
    job_id = add()
    request_of(job_id)
    claimed(engine, job_id)
    with transaction(engine) as tx:
        jobs.cancel(tx, job_id)
    sql(LOST, id=job_id)

    reap(engine)

    assert job(engine, job_id).status == "cancelled"
    assert sql("SELECT state FROM deletion_request") == [("cancelled",)]


def test_two_reapers_at_once_queue_a_lost_job_once(other: Engine, add: Callable[..., UUID], sql: Any) -> None:
    job_id = add()
    claimed(other, job_id)
    sql("DELETE FROM outbox")
    sql(LOST, id=job_id)

    together(4, lambda _: reap(other))

    assert sql("SELECT count(*) FROM outbox") == [(1,)]


def test_a_job_waits_for_its_predecessor_and_is_told_when_it_succeeded(
    engine: Engine, add: Callable[..., UUID], sql: Any
) -> None:
    first = add("index", model_id=None)
    then = add("train", after_id=first)
    messages = "SELECT job_id FROM outbox ORDER BY created_at"
    before = sql(messages)
    early = claim(engine, then)

    finish(engine, claimed(engine, first))

    assert (early, before) == (None, [(first,)])
    assert sql(messages) == [(first,), (then,)]
    assert claim(engine, then) == Claim(then, 1)


@pytest.mark.parametrize("status", ["failed", "cancelled"])
def test_a_job_fails_with_its_predecessor(
    engine: Engine, add: Callable[..., UUID], status: jobs.End
) -> None:
    first = add("index", model_id=None)
    then = add("train", after_id=first)
    finish(engine, claimed(engine, first), status)

    reap(engine)

    assert claim(engine, then) is None
    assert job(engine, then).status == "failed"
    assert "did not succeed" in (job(engine, then).error or "")


def test_a_job_that_is_added_after_its_predecessor_succeeded_is_sent_at_once(
    engine: Engine, add: Callable[..., UUID], sql: Any
) -> None:
    first = add("index", model_id=None)
    finish(engine, claimed(engine, first))

    then = add("train", after_id=first)

    assert (then,) in sql("SELECT job_id FROM outbox WHERE sent_at IS NULL")


def test_a_job_that_found_its_model_busy_is_sent_again_when_the_model_is_free(
    engine: Engine, add: Callable[..., UUID], sql: Any
) -> None:
    busy, waits = add(), add()
    held = claimed(engine, busy)
    turned_away = claim(engine, waits)
    sql("DELETE FROM outbox")

    finish(engine, held)

    assert turned_away is None
    assert sql("SELECT job_id FROM outbox") == [(waits,)]
    assert claim(engine, waits) == Claim(waits, 1)
