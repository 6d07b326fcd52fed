"""Engines and the one place that commits."""

from collections.abc import Generator
from contextlib import contextmanager
from select import POLLIN, poll
from typing import Literal

from psycopg import OperationalError
from psycopg.errors import UniqueViolation
from sqlalchemy import Engine, create_engine, event
from sqlalchemy.engine import Dialect
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.exc import DisconnectionError, IntegrityError
from sqlalchemy.orm import Session
from sqlalchemy.pool import ConnectionPoolEntry, PoolProxiedConnection

from service.errors import AlreadyExists, UnusableDatabase

Role = Literal["expunge_app", "expunge_sequencer"]      # see migration 0004


def connect(database_url: str, *, role: Role | None = None, pool_size: int = 10) -> Engine:
    """An engine whose connections speak UTC and are tested before use.

    Args:
        role: whose rights its connections have, whatever the login could do; None: the login's own.
    Raises:
        UnusableDatabase: at the first connection, if the role does not exist or the login may not take it.
    """
    options = "-c timezone=UTC" + (f" -c role={role}" if role else "")
    engine = create_engine(
        database_url, pool_size=pool_size, connect_args={"options": options, "application_name": "expunge"}
    )
    event.listen(engine, "checkout", _refuse_closed)
    if role:
        _explain_refusals(engine, role)
    return engine


def _refuse_closed(connection: DBAPIConnection, _: ConnectionPoolEntry, __: PoolProxiedConnection) -> None:
    """The pool then makes another. A server that says goodbye, or only closes, can be heard without asking it."""
    ready = poll()
    ready.register(connection.fileno(), POLLIN)     # pyright: ignore[reportAttributeAccessIssue]  # of psycopg's
    if ready.poll(0):
        raise DisconnectionError


def _explain_refusals(engine: Engine, role: Role) -> None:
    @event.listens_for(engine, "do_connect")
    def _connect(dialect: Dialect, _: ConnectionPoolEntry, args: list[str], named: dict[str, str]) -> DBAPIConnection:
        try:
            return dialect.connect(*args, **named)
        except OperationalError as error:
            # The server says so while it connects, where no error code comes through: only the role's quoted name.
            if f'"{role}"' in str(error) and engine.url.username != role:
                raise UnusableDatabase(f"The login of the database cannot act as {role}") from None
            raise


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
