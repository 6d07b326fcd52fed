"""Queries on whether certificates still count: what the ledger has said of them since they were issued."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.orm import Session, aliased

from service.db.arrays import among
from service.db.tables.ledger import Certificate, EntryOfRequest, LedgerLeaf
from service.domain.entries import correction_id

State = Literal["issued", "logged", "superseded", "revoked"]


@dataclass(frozen=True, slots=True)
class Standing:
    """A certificate and its place in the ledger."""

    id: UUID
    request_id: UUID
    supersedes: UUID | None
    index: int | None       # None: it waits for the sequencer
    by: UUID | None         # the certificate that supersedes it
    revoked: bool

    @property
    def state(self) -> State:
        if self.revoked:
            return "revoked"
        if self.by is not None:
            return "superseded"
        return "issued" if self.index is None else "logged"


def standings(tx: Session, request_ids: Sequence[UUID]) -> list[Standing]:
    """Every certificate of these requests, oldest first; the newest of a request is the one that none supersedes."""
    later = aliased(Certificate)
    found = tx.execute(
        select(Certificate.id, Certificate.request_id, Certificate.supersedes, LedgerLeaf.idx, later.id)
        .outerjoin(LedgerLeaf, LedgerLeaf.entry_id == Certificate.id)
        .outerjoin(later, later.supersedes == Certificate.id)
        .where(among(Certificate.request_id, request_ids)).order_by(Certificate.issued_at, Certificate.id)
    ).all()
    revoked = _revoked(tx, request_ids, [row[0] for row in found])
    return [Standing(*row, revoked=row[0] in revoked) for row in found]


def _revoked(tx: Session, request_ids: Sequence[UUID], certificate_ids: Sequence[UUID]) -> set[UUID]:
    entries = {correction_id(each, "revokes"): each for each in certificate_ids}
    of_requests = among(EntryOfRequest.request_id, request_ids) & among(EntryOfRequest.entry_id, entries)
    return {entries[each] for each in tx.scalars(select(EntryOfRequest.entry_id).where(of_requests))}
