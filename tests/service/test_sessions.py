"""Connections: whose rights they have, and what becomes of those that the server has closed."""

from collections.abc import Callable
from typing import Any

from sqlalchemy import Engine, text

from service.db.session import connect, transaction


def test_connections_that_the_server_has_closed_are_replaced(
    database_url: str, engine: Engine, sql: Callable[..., Any]
) -> None:
    pooled = connect(database_url, pool_size=3)
    held = [pooled.connect() for _ in range(3)]
    closed = {each.scalar(text("SELECT pg_backend_pid()")) for each in held}
    for each in held:
        each.close()
    for backend in closed:
        sql("SELECT pg_terminate_backend(:backend, 5000)", backend=backend)

    held = [pooled.connect() for _ in range(3)]

    assert closed.isdisjoint(each.scalar(text("SELECT pg_backend_pid()")) for each in held)
    for each in held:
        each.close()
    pooled.dispose()


def test_a_connection_that_is_well_is_used_again(database_url: str) -> None:
    pooled = connect(database_url, pool_size=1)

    backends = set()
    for _ in range(3):
        with transaction(pooled) as tx:
            backends.add(tx.scalar(text("SELECT pg_backend_pid()")))

    assert len(backends) == 1
    pooled.dispose()


def test_a_role_outlives_a_transaction_and_what_is_reset_in_it(database_url: str) -> None:
    acting = connect(database_url, role="expunge_app", pool_size=1)
    with acting.connect() as connection:
        connection.execute(text("RESET ROLE"))
        connection.rollback()
        connection.execute(text("RESET ALL"))
        role, zone = connection.execute(text("SELECT current_user, current_setting('timezone')")).one()

    assert (role, zone) == ("expunge_app", "UTC")
    acting.dispose()
