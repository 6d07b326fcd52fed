"""The database of the running service, for a command that ends soon."""

import sys
from collections.abc import Generator, Mapping
from contextlib import contextmanager, suppress

from sqlalchemy import Engine
from sqlalchemy.exc import SQLAlchemyError

from service.db.session import Role, connect
from service.errors import ExpungeError, Unavailable
from service.settings import Settings

Codes = Mapping[type[ExpungeError], int]


def url(settings: Settings) -> str:
    """The URL that is set, or that of the embedded server that runs on this home.

    Raises:
        Unavailable: there is neither.
    """
    if settings.database_url is not None:
        return settings.database_url.get_secret_value()
    found = None
    with suppress(ImportError):     # its packages are not in every image
        from service.embedded import running

        found = running(settings.home.absolute() / "postgres")
    if found is None:
        raise Unavailable("EXPUNGE_DATABASE_URL is not set, and no `expunge up` runs on EXPUNGE_HOME")
    return found


@contextmanager
def database(settings: Settings, *, role: Role | None = "expunge_app", codes: Codes | None = None) -> Generator[Engine]:
    """An engine for as long as the block lasts; an error in it is one sentence, a hint and an exit code.

    Args:
        role: whose rights are enough; None for those of the login.
        codes: of errors, the first that fits; 1 for all others.
    """
    try:
        engine = connect(url(settings), role=role, pool_size=1)
        try:
            yield engine
        finally:
            engine.dispose()
    except SQLAlchemyError as error:
        _end(Unavailable(f"The database does not answer, or refuses: {type(error).__name__}"), codes or {})
    except ExpungeError as error:
        _end(error, codes or {})


def _end(error: ExpungeError, codes: Codes) -> None:
    print(f"{error.detail}\n{error.hint}", file=sys.stderr)
    sys.exit(next((code for kind, code in codes.items() if isinstance(error, kind)), 1))
