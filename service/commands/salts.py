"""`expunge ledger forget-salt`."""

import sys
from datetime import timedelta
from typing import Annotated
from uuid import UUID

from cyclopts import Parameter
from cyclopts.validators import Number

from service.errors import Conflict
from service.settings import Settings

Days = Annotated[float, Parameter(validator=Number(gte=0, lte=36_500))]


def forget_salt(request: UUID | None = None, *, older_than: Days | None = None) -> None:
    """Delete the salt of a request for ever: nobody can link its commitments to a sample any more.

    No receipt can be made from then on; certificate, bundle and receipts that were given remain valid. The salt is in
    backups of the database until they are gone. To forget it twice changes nothing, and is no error.

    Args:
        request: the id of a request that has ended.
        older_than: only if it ended more than so many days ago; without an id, every request that did.
    """
    if request is None and older_than is None:
        sys.exit("Name a request, or say --older-than DAYS, or both; nothing was changed.")
    age = None if older_than is None else timedelta(days=older_than)
    forgotten = _forget(Settings(), request, age)
    if request is not None and not forgotten:
        print(f"The salt of request {request} was forgotten before; nothing was changed.")
        return
    for each in forgotten:
        print(f"The salt of request {each} is forgotten.")
    print(f"{len(forgotten)} forgotten; the ledger says so with the sequencer's next batch.")


def _forget(settings: Settings, request_id: UUID | None, older_than: timedelta | None) -> list[UUID]:
    from service.db.session import connect, transaction  # `expunge --help` needs no database
    from service.ledger import salts
    from service.ledger.keyring import Keyring

    if settings.database_url is None:
        raise Conflict("EXPUNGE_DATABASE_URL is not set; name the database of the running service")
    keys = Keyring.of(settings).keys
    with transaction(connect(settings.database_url.get_secret_value(), role="expunge_app")) as tx:
        return salts.forget(tx, keys.certificate, request_id=request_id, older_than=older_than)
