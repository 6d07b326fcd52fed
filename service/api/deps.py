"""What a route needs: a transaction, the store, the index key, the settings."""

from collections.abc import Generator
from dataclasses import dataclass
from typing import Annotated

from fastapi import Depends, Request
from sqlalchemy import Engine
from sqlalchemy.orm import Session

from service.db.session import transaction
from service.ledger import keys
from service.settings import Settings
from service.storage import Store


@dataclass(frozen=True, slots=True)
class Context:
    """Made once by create_app."""

    settings: Settings
    engine: Engine
    store: Store
    index_key: bytes

    @property
    def trust(self) -> str:
        """The public keys, as verifiers are given them now."""
        return keys.trust(self.settings.keys_dir)


def _context(request: Request) -> Context:
    return request.app.state.context


Ctx = Annotated[Context, Depends(_context)]


def _transaction(ctx: Ctx) -> Generator[Session]:
    with transaction(ctx.engine) as tx:
        yield tx


Tx = Annotated[Session, Depends(_transaction, scope="function")]     # commits before the reply is sent
