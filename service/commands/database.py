"""The database of the running service, for a command that ends soon."""

from collections.abc import Generator
from contextlib import contextmanager

from sqlalchemy import Engine
from sqlalchemy.exc import SQLAlchemyError

from service.db.session import connect
from service.errors import Unavailable
from service.settings import Settings


@contextmanager
def database(settings: Settings) -> Generator[Engine]:
    """With the application's rights.

    Raises:
        Unavailable: no URL is set, or the server does not do what it was asked.
    """
    if settings.database_url is None:
        raise Unavailable("EXPUNGE_DATABASE_URL is not set")
    engine = connect(settings.database_url.get_secret_value(), role="expunge_app", pool_size=1)
    try:
        yield engine
    except SQLAlchemyError as error:
        raise Unavailable(f"The database does not answer, or refuses: {type(error).__name__}") from None
    finally:
        engine.dispose()
