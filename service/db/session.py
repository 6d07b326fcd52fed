"""Engines and the one place that commits."""

from collections.abc import Generator
from contextlib import contextmanager

from psycopg.errors import UniqueViolation
from sqlalchemy import Engine, create_engine
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from service.errors import AlreadyExists


def connect(database_url: str, *, pool_size: int = 10) -> Engine:
    """An engine whose connections speak UTC and are tested before use."""
    return create_engine(
        database_url,
        pool_size=pool_size,
        pool_pre_ping=True,
        connect_args={"options": "-c timezone=UTC", "application_name": "expunge"},
    )


@contextmanager
def transaction(engine: Engine) -> Generator[Session]:
    """All or nothing: commits when the block ends well, rolls back when it raises."""
    with Session(engine, expire_on_commit=False) as session, session.begin():
        yield session


def flush_unless_taken(tx: Session, taken: str) -> None:
    """Write what was added; AlreadyExists, with this sentence, if somebody faster has the name."""
    try:
        tx.flush()
    except IntegrityError as error:
        if isinstance(error.orig, UniqueViolation):
            raise AlreadyExists(taken) from None
        raise
