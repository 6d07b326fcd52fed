"""`expunge ledger forget-salt`: 0 it is forgotten, now or since long; 1 it is not; 2 the arguments are not right."""

import sys
from datetime import timedelta
from typing import Annotated
from uuid import UUID

from cyclopts import Parameter
from cyclopts.validators import Number

from service.commands.database import database
from service.db.session import transaction
from service.ledger import salts
from service.ledger.keyring import Keyring
from service.settings import Settings

Days = Annotated[float, Parameter(validator=Number(gte=0, lte=36_500))]


def forget_salt(request_id: UUID | None = None, *, older_than: Days | None = None) -> None:
    """Delete the salt of a request for ever: nobody can link its commitments to a sample any more.

    No receipt can be made from then on; certificate, bundle and receipts that were given remain valid. The salt is in
    backups of the database until they are gone. To forget it twice changes nothing, and is no error.

    Args:
        request_id: a request that has ended.
        older_than: only if it ended more than so many days ago; without an id, every request that did.
    """
    if request_id is None and older_than is None:
        print("Name a request, or say --older-than DAYS, or both; nothing was changed.", file=sys.stderr)
        sys.exit(2)
    forgotten = _forget(Settings(), request_id, None if older_than is None else timedelta(days=older_than))
    if request_id is not None and not forgotten:
        print(f"The salt of request {request_id} was forgotten before; nothing was changed.")
        return
    for each in forgotten:
        print(f"The salt of request {each} is forgotten.")
    print(f"{len(forgotten)} forgotten; the ledger says so with the sequencer's next batch.")


def _forget(settings: Settings, request_id: UUID | None, older_than: timedelta | None) -> list[UUID]:
    with database(settings) as engine:
        key = Keyring.of(settings).keys.certificate
        with transaction(engine) as tx:
            return salts.forget(tx, key, request_id=request_id, older_than=older_than)
