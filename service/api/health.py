"""Is the process alive, and can it serve?"""

from fastapi import APIRouter
from sqlalchemy import text

from service.api.deps import Tx
from service.db.revision import HEAD
from service.errors import Unavailable

router = APIRouter(tags=["health"])


@router.get("/livez")
def livez() -> dict[str, str]:
    """The process answers."""
    return {"status": "ok"}


@router.get("/readyz")
def readyz(tx: Tx) -> dict[str, str]:
    """The database answers and its migrations are current; a broker that is away does not matter here."""
    current = tx.scalar(text("SELECT version_num FROM alembic_version"))
    if current != HEAD:
        raise Unavailable("The database is at another migration than this process; run `expunge migrate`")
    return {"status": "ok", "migration": HEAD}
