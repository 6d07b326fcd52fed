"""From the outbox to the broker: each message once if all goes well, again if not, and never lost."""

from collections.abc import Callable
from datetime import timedelta
from threading import Barrier
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import Engine

from service.db import jobs, outbox
from service.db.session import transaction
from service.db.tables import Outbox
from service.scheduler import SILENT_FOR, relay
from tests.service.world import reap, together


@pytest.fixture
def add(engine: Engine) -> Callable[..., UUID]:
    def add(**more: Any) -> UUID:
        with transaction(engine) as tx:
            return jobs.add(tx, "index", max_attempts=3, **more).id

    return add


def test_four_relays_send_each_message_once(other: Engine, add: Callable[..., UUID]) -> None:
    wanted = [add() for _ in range(40)]
    sent: list[UUID] = []
    begin = Barrier(4)

    def take(_: int) -> None:
        begin.wait()
        for _ in range(10):
            with transaction(other) as tx:
                outbox.relay(tx, lambda message: sent.append(message.job_id), limit=3)

    together(4, take)

    assert sorted(sent) == sorted(wanted)


def test_messages_leave_in_the_order_in_which_they_came(engine: Engine, add: Callable[..., UUID]) -> None:
    wanted = [add() for _ in range(5)]
    sent: list[UUID] = []

    relay(engine, lambda message: sent.append(message.job_id))

    assert sent == wanted


def test_a_broker_that_is_away_leaves_the_message_unsent(engine: Engine, add: Callable[..., UUID], sql: Any) -> None:
    add()

    def away(_: Outbox) -> None:
        raise ConnectionError

    with pytest.raises(ConnectionError):
        relay(engine, away)

    assert sql("SELECT count(*) FROM outbox WHERE sent_at IS NULL") == [(1,)]


def test_a_broker_that_fails_half_way_gets_everything_again(engine: Engine, add: Callable[..., UUID]) -> None:
    wanted = [add() for _ in range(3)]
    sent: list[UUID] = []

    def fails_once(message: Outbox) -> None:
        sent.append(message.job_id)
        if len(sent) == 2:
            raise ConnectionError

    with pytest.raises(ConnectionError):
        relay(engine, fails_once)
    relay(engine, fails_once)

    assert sent == [*wanted[:2], *wanted]


def test_a_job_that_is_rolled_back_leaves_no_message(engine: Engine, sql: Any) -> None:
    def fails() -> None:
        with transaction(engine) as tx:
            jobs.add(tx, "index", max_attempts=3)
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fails()

    assert sql("SELECT count(*) FROM outbox") == [(0,)]


def test_a_message_that_was_lost_is_sent_again_when_it_was_silent_for_too_long(
    engine: Engine, add: Callable[..., UUID], sql: Any
) -> None:
    job_id = add()
    sql("UPDATE outbox SET sent_at = clock_timestamp() - :age", age=SILENT_FOR + timedelta(seconds=1))

    reap(engine)
    reap(engine)

    assert sql("SELECT job_id FROM outbox WHERE sent_at IS NULL") == [(job_id,)]


def test_a_message_that_was_just_sent_is_not_sent_again(engine: Engine, add: Callable[..., UUID], sql: Any) -> None:
    add()
    sql("UPDATE outbox SET sent_at = clock_timestamp()")

    reap(engine)

    assert sql("SELECT count(*) FROM outbox WHERE sent_at IS NULL") == [(0,)]


def test_a_job_that_waits_for_another_is_not_sent_before_its_time(
    engine: Engine, add: Callable[..., UUID], sql: Any
) -> None:
    first = add()
    add(after_id=first)
    sql("DELETE FROM outbox")

    reap(engine)

    assert sql("SELECT job_id FROM outbox") == [(first,)]


def test_a_job_that_is_over_is_not_sent_again(engine: Engine, add: Callable[..., UUID], sql: Any) -> None:
    job_id = add()
    with transaction(engine) as tx:
        held = jobs.claim(tx, job_id, lease=timedelta(minutes=1))
        assert held is not None
        jobs.finish(tx, held, status="succeeded")
    sql("DELETE FROM outbox")

    reap(engine)

    assert sql("SELECT count(*) FROM outbox") == [(0,)]
