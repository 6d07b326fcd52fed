"""Jobs that wait for children: parked, woken by the last one, healed when a message is lost, stopped together."""

import threading
from collections.abc import Callable
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import Engine
from sqlalchemy.exc import IntegrityError

from service.db import jobs
from service.db.jobs import Child, Claim
from service.db.session import transaction
from service.db.tables import Job
from service.errors import Cancelled, LostLease
from tests.service.world import reap, stored, together

LEASE = timedelta(minutes=1)
LOST = "UPDATE job SET lease_until = clock_timestamp() - interval '1 second' WHERE id = :id"
SENT = "SELECT job_id FROM outbox ORDER BY created_at"


@pytest.fixture
def add(engine: Engine, model_id: UUID) -> Callable[..., UUID]:
    """A queued job of the model."""

    def add(*, max_attempts: int = 3) -> UUID:
        with transaction(engine) as tx:
            return jobs.add(tx, "unlearn", max_attempts=max_attempts, model_id=model_id, payload={"own": 1}).id

    return add


@pytest.fixture
def family(engine: Engine, add: Callable[..., UUID], sql: Any) -> Callable[..., tuple[UUID, list[UUID]]]:
    """A parked job and its queued children; no message is left of before."""

    def family(n: int, *, max_attempts: int = 3) -> tuple[UUID, list[UUID]]:
        parent = add(max_attempts=max_attempts)
        park(engine, claimed(engine, parent), n)
        sql("DELETE FROM outbox")
        with transaction(engine) as tx:
            return parent, [child.id for child in jobs.children(tx, parent)]

    return family


def claim(engine: Engine, job_id: UUID) -> Claim | None:
    try:
        with transaction(engine) as tx:
            return jobs.claim(tx, job_id, lease=LEASE)
    except IntegrityError:
        return None


def claimed(engine: Engine, job_id: UUID) -> Claim:
    held = claim(engine, job_id)
    assert held is not None
    return held


def park(engine: Engine, held: Claim, n: int) -> None:
    with transaction(engine) as tx:
        parts = [Child("reference", {"k": k}) for k in range(n)]
        jobs.park(tx, held, parts, phase="references", keep={"kept": 2})


def finish(engine: Engine, held: Claim, status: jobs.End = "succeeded") -> None:
    with transaction(engine) as tx:
        jobs.finish(tx, held, status=status)


def job(engine: Engine, job_id: UUID) -> Job:
    with transaction(engine) as tx:
        return jobs.get(tx, job_id)


def test_a_parked_job_has_no_lease_and_has_spent_no_attempt_and_its_children_are_sent(
    engine: Engine, add: Callable[..., UUID], sql: Any
) -> None:
    parent = add()
    sql("DELETE FROM outbox")

    park(engine, claimed(engine, parent), 2)

    waits = job(engine, parent)
    with transaction(engine) as tx:
        parts = jobs.children(tx, parent)
    assert (waits.status, waits.lease_until, waits.attempt) == ("waiting", None, 0)
    assert waits.progress == {"phase": "references", "done": 0, "total": 2}
    assert waits.payload == {"own": 1, "kept": 2}
    assert [(part.kind, part.status, part.payload, part.model_id) for part in parts] == [
        ("reference", "queued", {"k": 0}, None), ("reference", "queued", {"k": 1}, None)]
    assert [sent for (sent,) in sql(SENT)] == [part.id for part in parts]


def test_children_run_side_by_side_while_their_parent_cannot_be_taken(
    engine: Engine, family: Callable[..., tuple[UUID, list[UUID]]]
) -> None:
    parent, parts = family(2)

    held = [claim(engine, part) for part in parts]

    assert all(held)
    assert claim(engine, parent) is None


@pytest.mark.parametrize("status", ["succeeded", "failed", "cancelled"])
def test_the_last_child_wakes_its_parent_however_it_ends(
    engine: Engine, family: Callable[..., tuple[UUID, list[UUID]]], sql: Any, status: jobs.End
) -> None:
    parent, (first, last) = family(2)

    finish(engine, claimed(engine, first))
    between = sql(SENT), job(engine, parent).progress["done"]
    finish(engine, claimed(engine, last), status)

    assert between == ([], 1)
    assert sql(SENT) == [(parent,)]
    assert job(engine, parent).progress == {"phase": "references", "done": 2, "total": 2}
    assert claim(engine, parent) == Claim(parent, 2)
    assert job(engine, parent).attempt == 1


def test_of_children_that_end_at_once_one_wakes_the_parent(
    other: Engine, family: Callable[..., tuple[UUID, list[UUID]]], sql: Any
) -> None:
    for _ in range(5):
        parent, parts = family(6)
        held = [claimed(other, part) for part in parts]

        together(6, lambda n, held=held: finish(other, held[n]))

        assert sql(SENT) == [(parent,)]
        assert job(other, parent).progress["done"] == 6
        finish(other, claimed(other, parent))


def test_a_last_child_waits_for_another_that_is_about_to_commit(
    other: Engine, family: Callable[..., tuple[UUID, list[UUID]]], sql: Any
) -> None:
    parent, (first, last) = family(2)
    held = [claimed(other, part) for part in (first, last)]

    with transaction(other) as tx:
        jobs.finish(tx, held[0], status="succeeded")
        thread = threading.Thread(target=finish, args=(other, held[1]))
        thread.start()
        blocked(sql, 1)
    thread.join()

    assert sql(SENT) == [(parent,)]


def blocked(sql: Any, n: int) -> None:
    """Returns once so many connections wait for a lock."""
    waiting = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()"
    for _ in range(2000):
        if sql(waiting)[0][0] >= n:
            return
    raise AssertionError("nobody waits")


def test_a_waiting_parent_keeps_its_model_until_it_has_ended(
    engine: Engine, add: Callable[..., UUID], family: Callable[..., tuple[UUID, list[UUID]]], sql: Any
) -> None:
    parent, (part,) = family(1)
    second = add()

    while_children_work = claim(engine, second)
    finish(engine, claimed(engine, part))
    before_it_is_taken = claim(engine, second)
    held = claimed(engine, parent)
    while_it_runs = claim(engine, second)
    sql("DELETE FROM outbox")
    finish(engine, held)

    assert (while_children_work, before_it_is_taken, while_it_runs) == (None, None, None)
    assert sql(SENT) == [(second,)]
    assert claim(engine, second) == Claim(second, 1)


def test_whoever_parked_a_job_writes_nothing_more_for_it(
    engine: Engine, add: Callable[..., UUID]
) -> None:
    parent = add()
    held = claimed(engine, parent)
    park(engine, held, 1)
    before = stored(engine)

    with pytest.raises(LostLease):
        finish(engine, held)
    with pytest.raises(LostLease):
        park(engine, held, 1)

    assert stored(engine) == before


def test_whoever_lost_the_lease_parks_nothing(engine: Engine, add: Callable[..., UUID], sql: Any) -> None:
    parent = add()
    stale = claimed(engine, parent)
    sql(LOST, id=parent)
    claimed(engine, parent)
    before = stored(engine)

    with pytest.raises(LostLease):
        park(engine, stale, 1)

    assert stored(engine) == before


def test_a_job_that_was_asked_to_stop_is_not_parked(engine: Engine, add: Callable[..., UUID], sql: Any) -> None:
    parent = add()
    held = claimed(engine, parent)
    with transaction(engine) as tx:
        jobs.cancel(tx, parent)

    with pytest.raises(Cancelled):
        park(engine, held, 1)

    assert sql("SELECT count(*) FROM job") == [(1,)]


def test_a_job_waits_for_one_child_at_least_and_a_child_for_none(
    engine: Engine, add: Callable[..., UUID], family: Callable[..., tuple[UUID, list[UUID]]]
) -> None:
    _, (part,) = family(1)

    with pytest.raises(ValueError, match="no child itself"):
        park(engine, claimed(engine, part), 1)


def test_a_job_can_be_parked_more_often_than_it_has_attempts(
    engine: Engine, add: Callable[..., UUID]
) -> None:
    parent = add(max_attempts=1)

    for _ in range(3):
        park(engine, claimed(engine, parent), 1)
        with transaction(engine) as tx:
            part = next(each for each in jobs.children(tx, parent) if each.status == "queued")
        finish(engine, claimed(engine, part.id))

    assert job(engine, parent).attempt == 0
    assert claim(engine, parent) is not None


# ---- what is lost ---------------------------------------------------------------------------------------------------


def test_a_child_that_lost_its_worker_is_done_again_and_its_parent_waits_on(
    engine: Engine, family: Callable[..., tuple[UUID, list[UUID]]], sql: Any
) -> None:
    parent, (part,) = family(1)
    claimed(engine, part)
    sql(LOST, id=part)

    reap(engine)

    assert sql(SENT) == [(part,)]
    assert (job(engine, part).status, job(engine, parent).status) == ("queued", "waiting")
    assert claim(engine, part) == Claim(part, 2)


def test_a_child_without_attempts_left_fails_and_wakes_its_parent(
    engine: Engine, family: Callable[..., tuple[UUID, list[UUID]]], sql: Any
) -> None:
    parent, (part,) = family(1, max_attempts=1)
    claimed(engine, part)
    sql(LOST, id=part)

    reap(engine)

    assert job(engine, part).status == "failed"
    assert sql(SENT) == [(parent,)]
    assert claim(engine, parent) is not None


def test_a_parent_that_lost_its_worker_after_its_children_is_done_again(
    engine: Engine, family: Callable[..., tuple[UUID, list[UUID]]], sql: Any
) -> None:
    parent, (part,) = family(1)
    finish(engine, claimed(engine, part))
    claimed(engine, parent)
    sql(LOST, id=parent)

    reap(engine)

    assert (job(engine, parent).status, job(engine, parent).attempt) == ("queued", 1)
    assert claim(engine, parent) == Claim(parent, 3)


def test_a_parent_whose_message_was_lost_gets_another_one_and_while_children_work_none(
    engine: Engine, family: Callable[..., tuple[UUID, list[UUID]]], sql: Any
) -> None:
    parent, (part,) = family(1)
    held = claimed(engine, part)
    reap(engine)
    early = sql(SENT)
    finish(engine, held)
    sql("DELETE FROM outbox")

    reap(engine)
    reap(engine)

    assert early == []
    assert sql(SENT) == [(parent,)]


def test_the_reaper_and_the_last_children_do_not_wait_for_each_other(
    other: Engine, family: Callable[..., tuple[UUID, list[UUID]]], sql: Any
) -> None:
    for _ in range(5):
        parent, parts = family(4)
        held = [claimed(other, part) for part in parts]
        for part in parts[:2]:
            sql(LOST, id=part)

        def act(n: int, held: list[Claim] = held) -> None:
            reap(other) if n < 2 else finish(other, held[n])

        together(4, act)
        reap(other)
        again = [claimed(other, part) for part in parts[:2]]
        together(2, lambda n, again=again: finish(other, again[n]))

        assert job(other, parent).progress["done"] == 4
        finish(other, claimed(other, parent))


# ---- what is stopped ------------------------------------------------------------------------------------------------


def test_a_waiting_parent_is_cancelled_at_once_with_its_children(
    engine: Engine, add: Callable[..., UUID], family: Callable[..., tuple[UUID, list[UUID]]], sql: Any
) -> None:
    parent, (queued, running) = family(2)
    second = add()
    held = claimed(engine, running)

    with transaction(engine) as tx:
        jobs.cancel(tx, parent)
        sql("DELETE FROM outbox")
    with transaction(engine) as tx:
        asked = jobs.beat(tx, held, lease=LEASE, progress={})
    finish(engine, held, "cancelled")

    ends = [job(engine, each) for each in (parent, queued, running)]
    assert asked is True
    assert [end.status for end in ends] == ["cancelled"] * 3
    assert all(end.finished_at for end in ends)
    assert claim(engine, queued) is None
    assert claim(engine, parent) is None
    assert (second,) in sql(SENT)
    assert (parent,) not in sql(SENT)


def test_a_child_of_a_cancelled_parent_that_lost_its_worker_is_not_begun_again(
    engine: Engine, family: Callable[..., tuple[UUID, list[UUID]]], sql: Any
) -> None:
    parent, (part,) = family(1)
    claimed(engine, part)
    with transaction(engine) as tx:
        jobs.cancel(tx, parent)
    sql(LOST, id=part)

    reap(engine)

    assert job(engine, part).status == "cancelled"


def test_a_cancelled_child_counts_as_ended(
    engine: Engine, family: Callable[..., tuple[UUID, list[UUID]]], sql: Any
) -> None:
    parent, (part,) = family(1)

    with transaction(engine) as tx:
        jobs.cancel(tx, part)

    assert job(engine, part).status == "cancelled"
    assert sql(SENT) == [(parent,)]


def test_parents_and_children_that_are_stopped_and_finished_at_once_do_not_wait_for_each_other(
    other: Engine, family: Callable[..., tuple[UUID, list[UUID]]]
) -> None:
    for _ in range(5):
        parent, parts = family(3)
        held = [claimed(other, part) for part in parts]

        def act(n: int, parent: UUID = parent, held: list[Claim] = held) -> None:
            if n < 3:
                finish(other, held[n])
                return
            with transaction(other) as tx:
                jobs.cancel(tx, parent)

        together(4, act)

        assert job(other, parent).status == "cancelled"
        assert {job(other, part).status for part in parts} == {"succeeded"}
