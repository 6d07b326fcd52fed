"""Reading the outbox: rows are locked while they are sent, and marked in the same transaction."""

from collections.abc import Callable

from sqlalchemy import select, update
from sqlalchemy.orm import Session

from service.db.jobs import clock
from service.db.tables import Outbox


def relay(tx: Session, publish: Callable[[Outbox], None], *, limit: int = 100) -> int:
    """Publish what is unsent; a crash in between sends twice, which the claim makes harmless."""
    unsent = select(Outbox).where(Outbox.sent_at.is_(None)).order_by(Outbox.created_at).limit(limit)
    messages = tx.scalars(unsent.with_for_update(skip_locked=True)).all()
    for message in messages:
        publish(message)
    tx.execute(update(Outbox).where(Outbox.id.in_([m.id for m in messages])).values(sent_at=clock))
    return len(messages)
