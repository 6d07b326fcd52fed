"""Bring a database to the newest migration."""

from pathlib import Path

from alembic import command
from alembic.config import Config
from psycopg.errors import InsufficientPrivilege
from sqlalchemy import Engine
from sqlalchemy.exc import ProgrammingError

from service.errors import UnusableDatabase

SCRIPTS = Path(__file__).parents[2] / "migrations"      # beside the package, in a checkout and when installed


def config(engine_connection: object) -> Config:
    """Alembic's configuration, without a file."""
    made = Config()
    made.set_main_option("script_location", str(SCRIPTS))
    made.attributes["connection"] = engine_connection
    return made


def upgrade(engine: Engine) -> None:
    """Apply what is missing; nothing happens when nothing is.

    Raises:
        UnusableDatabase: the login may not make roles, or may not act as the one that owns the tables.
    """
    try:
        with engine.begin() as connection:
            command.upgrade(config(connection), "head")
    except ProgrammingError as error:
        if isinstance(error.orig, InsufficientPrivilege):
            raise UnusableDatabase(
                "The login may not migrate: it has to own the database, and to make roles or be in expunge_owner"
            ) from None
        raise
