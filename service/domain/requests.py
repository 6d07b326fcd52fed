"""Deletion requests: what can be asked for, the states, the legal transitions, the deadline."""

from datetime import UTC, date, datetime, time, timedelta
from enum import StrEnum
from typing import Annotated, Literal

from dateutil.relativedelta import relativedelta
from pydantic import Field

from service.domain.values import Value

Identifier = Annotated[str, Field(min_length=1, max_length=256)]
ExternalId = Annotated[Identifier, Field(pattern=r"^[^\x00]*$")]     # is stored, and PostgreSQL has no NUL
Label = Annotated[int, Field(strict=True, ge=0, lt=100_000)]       # neither true nor "1" names a class


class Samples(Value):
    """Rows by their `sample_id`."""

    kind: Literal["samples"] = "samples"
    ids: Annotated[list[Identifier], Field(min_length=1, max_length=100_000)]


class Subjects(Value):
    """All training rows of these persons, by their `subject_id`."""

    kind: Literal["subjects"] = "subjects"
    ids: Annotated[list[Identifier], Field(min_length=1, max_length=100_000)]


class Classes(Value):
    """All training rows of these labels."""

    kind: Literal["classes"] = "classes"
    ids: Annotated[list[Label], Field(min_length=1, max_length=1_000)]


Target = Annotated[Samples | Subjects | Classes, Field(discriminator="kind")]
Ground = Literal["art-17-1-a", "art-17-1-b", "art-17-1-c", "art-17-1-d", "art-17-1-e", "art-17-1-f", "other"]


class State(StrEnum):
    RECEIVED = "received"
    SCHEDULED = "scheduled"
    UNLEARNING = "unlearning"
    AUDITING = "auditing"
    CERTIFIED = "certified"
    REFUSED = "refused"
    CANCELLED = "cancelled"
    FAILED = "failed"


ENDED = frozenset({State.CERTIFIED, State.REFUSED, State.CANCELLED, State.FAILED})
NEXT: dict[State, frozenset[State]] = {
    State.RECEIVED: frozenset({State.SCHEDULED, State.REFUSED, State.CANCELLED}),
    State.SCHEDULED: frozenset({State.UNLEARNING, State.REFUSED, State.CANCELLED, State.FAILED}),
    State.UNLEARNING: frozenset({State.AUDITING, State.CANCELLED, State.FAILED}),
    State.AUDITING: frozenset({State.UNLEARNING, State.CERTIFIED, State.CANCELLED, State.FAILED}),
} | dict.fromkeys(ENDED, frozenset[State]())


def before(state: State) -> frozenset[State]:
    """The states from which `state` can be reached in one step."""
    return frozenset(old for old, new in NEXT.items() if state in new)


DUE_BASIS = "GDPR Art. 12(3): one month from receipt, counted by Regulation 1182/71 (UTC, weekends, no holidays)"


def due(received: datetime) -> datetime:
    """The last second of the legal month: same-numbered day or the month's last, rolled past a weekend.

    Source: Regulation (EEC, Euratom) 1182/71, Art. 3(1), 3(2)(c), 3(4).
    """
    day = received.astimezone(UTC).date() + relativedelta(months=1)
    return datetime.combine(_working_day(day), time(23, 59, 59), UTC)


def _working_day(day: date) -> date:
    return day + timedelta(days=max(0, 7 - day.weekday())) if day.weekday() >= 5 else day
