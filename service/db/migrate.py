"""Bring a database to the newest migration."""

from pathlib import Path

from alembic import command
from alembic.config import Config
from sqlalchemy import Engine

SCRIPTS = Path(__file__).parents[2] / "migrations"      # beside the package, in a checkout and when installed


def config(engine_connection: object) -> Config:
    """Alembic's configuration, without a file."""
    made = Config()
    made.set_main_option("script_location", str(SCRIPTS))
    made.attributes["connection"] = engine_connection
    return made


def upgrade(engine: Engine) -> None:
    """Apply what is missing; nothing happens when nothing is."""
    with engine.begin() as connection:
        command.upgrade(config(connection), "head")
