"""Alembic's environment: migrations run in one transaction on a connection that the caller gives."""

from typing import Literal

from alembic import context
from sqlalchemy import ARRAY

from service.db.tables import Base


def render_item(kind: str, item: object, _: object) -> str | Literal[False]:
    """Only sa.* types: a migration must not break when our own code moves."""
    if kind == "type" and isinstance(item, ARRAY):
        return f"sa.ARRAY(sa.{item.item_type!r})"
    return False


context.configure(connection=context.config.attributes["connection"], target_metadata=Base.metadata, render_item=render_item)
with context.begin_transaction():
    context.run_migrations()
