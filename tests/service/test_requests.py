"""Deadlines and transitions of a deletion request."""

import calendar
from datetime import UTC, date, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from service.domain.requests import ENDED, NEXT, State, Target, before, due

instants = st.datetimes(
    datetime(2000, 1, 1), datetime(2099, 12, 31), timezones=st.builds(  # noqa: DTZ001  the strategy adds the zone
        lambda hours: timezone(timedelta(hours=hours)), st.integers(-12, 14))
)


def by_hand(received: datetime) -> date:
    """The rule step by step: the same number a month later, the month's last day if there is none, then weekends."""
    day = received.astimezone(UTC).date()
    year, month = (day.year, day.month + 1) if day.month < 12 else (day.year + 1, 1)
    day = date(year, month, min(day.day, calendar.monthrange(year, month)[1]))
    while calendar.day_name[day.weekday()] in ("Saturday", "Sunday"):
        day += timedelta(days=1)
    return day


@given(received=instants)
def test_a_deadline_is_the_last_second_of_the_legal_month(received: datetime) -> None:
    end = due(received)

    assert end.date() == by_hand(received)
    assert (end.hour, end.minute, end.second, end.utcoffset()) == (23, 59, 59, timedelta(0))


@given(received=instants, later=st.timedeltas(timedelta(0), timedelta(days=400)))
def test_who_asks_later_is_not_due_earlier(received: datetime, later: timedelta) -> None:
    assert due(received) <= due(received + later)


@given(received=instants)
def test_a_deadline_leaves_a_month_and_no_more_than_a_weekend(received: datetime) -> None:
    days = (due(received).date() - received.astimezone(UTC).date()).days

    assert 28 <= days <= 33


@pytest.mark.parametrize(
    ("received", "expected"),
    [
        ("2025-01-31T10:00:00+00:00", "2025-02-28"),        # no 31 February; a Friday
        ("2024-01-31T10:00:00+00:00", "2024-02-29"),        # a leap year; a Thursday
        ("2025-01-15T10:00:00+00:00", "2025-02-17"),        # 15 February 2025 is a Saturday
        ("2025-10-16T23:59:59+00:00", "2025-11-17"),        # 16 November 2025 is a Sunday
        ("2025-12-10T00:00:00+00:00", "2026-01-12"),        # over the year; 10 January 2026 is a Saturday
        ("2025-03-01T01:00:00+02:00", "2025-03-28"),        # still 28 February in UTC
    ],
)
def test_deadlines_counted_by_hand(received: str, expected: str) -> None:
    assert due(datetime.fromisoformat(received)).date() == date.fromisoformat(expected)


def test_what_has_ended_stays_as_it_is() -> None:
    assert {State.CERTIFIED, State.REFUSED, State.CANCELLED, State.FAILED} == ENDED
    assert all(not NEXT[state] for state in ENDED)


def test_every_state_knows_its_next_and_none_leads_to_itself() -> None:
    assert NEXT.keys() == set(State)
    assert all(state not in after for state, after in NEXT.items())


@given(state=st.sampled_from(State))
def test_before_is_the_inverse_of_next(state: State) -> None:
    assert before(state) == {old for old in State if state in NEXT[old]}


@given(data=st.data())
def test_every_walk_that_follows_the_arrows_can_end(data: st.DataObject) -> None:
    state = State.RECEIVED
    for _ in range(data.draw(st.integers(0, 12))):
        if state not in ENDED:
            state = data.draw(st.sampled_from(sorted(NEXT[state])))

    reached, front = {state}, {state}
    while front:
        front = set().union(*(NEXT[each] for each in front)) - reached
        reached |= front
    assert reached & ENDED


def test_only_the_audit_leads_to_a_certificate_and_only_escalation_leads_back() -> None:
    assert before(State.CERTIFIED) == {State.AUDITING}
    assert before(State.UNLEARNING) == {State.SCHEDULED, State.AUDITING}


def test_a_request_that_is_being_served_can_no_longer_be_refused() -> None:
    assert before(State.REFUSED) == {State.RECEIVED, State.SCHEDULED}


@pytest.mark.parametrize(
    "target",
    [
        {"kind": "samples", "ids": []}, {"kind": "samples", "ids": ["x" * 257]}, {"kind": "samples", "ids": [1]},
        {"kind": "classes", "ids": [-1]}, {"kind": "classes", "ids": [True]}, {"kind": "classes", "ids": [1.5]},
        {"kind": "classes", "ids": ["1"]}, {"kind": "persons", "ids": ["a"]}, {"ids": ["a"]}, [],
        {"kind": "subjects", "ids": ["a"], "classes": [1]}, {"kind": "subjects", "ids": ["a"] * 100_001},
    ],
    ids=range(12),
)
def test_targets_that_make_no_sense_are_refused(target: object) -> None:
    with pytest.raises(ValidationError):
        TypeAdapter[Target](Target).validate_python(target)
