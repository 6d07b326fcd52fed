"""Alembic's environment: migrations run in one transaction on a connection that the caller gives."""

from typing import Literal

from alembic import context
from sqlalchemy import ARRAY, Connection, text

from service.db.tables import Base


def render_item(kind: str, item: object, _: object) -> str | Literal[False]:
    """Only sa.* types: a migration must not break when our own code moves."""
    if kind == "type" and isinstance(item, ARRAY):
        return f"sa.ARRAY(sa.{item.item_type!r})"
    return False


def become_owner(connection: Connection) -> None:
    """What a migration after 0004 makes belongs to the role that it made, whoever logs in."""
    owner = "SELECT tableowner FROM pg_tables WHERE schemaname = 'public' AND tablename = 'alembic_version'"
    if connection.scalar(text(owner)) == "expunge_owner":
        connection.execute(text("SET LOCAL ROLE expunge_owner"))


connection: Connection = context.config.attributes["connection"]
become_owner(connection)
context.configure(connection=connection, target_metadata=Base.metadata, render_item=render_item)
with context.begin_transaction():
    context.run_migrations()
