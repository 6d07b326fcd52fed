"""Queries on certificates and the ledger."""

from collections.abc import Mapping, Sequence
from uuid import UUID

from sqlalchemy import delete, exists, func, insert, select, tuple_, update
from sqlalchemy.dialects.postgresql import insert as upsert
from sqlalchemy.orm import Session, aliased

from service.db.tables.ledger import (
    Certificate,
    EntryOfRequest,
    LedgerCheckpoint,
    LedgerHead,
    LedgerInbox,
    LedgerLeaf,
    LedgerNode,
)
from service.domain.merkle import Subtree
from service.errors import NotFound

SEQUENCER = 0x6C65_6467_6572  # the advisory lock of whoever writes the tree: "ledger"


def add_certificate(
    tx: Session, certificate_id: UUID, *, request_id: UUID, envelope: bytes, supersedes: UUID | None = None
) -> bool:
    """False if the request has one, that one has been superseded by another already, or the id is taken."""
    values = {"id": certificate_id, "request_id": request_id, "envelope": envelope, "supersedes": supersedes}
    return tx.scalar(upsert(Certificate).values(values).on_conflict_do_nothing().returning(Certificate.id)) is not None


def enqueue(tx: Session, entry_id: UUID, envelope: bytes, *, kind: str, requests: Sequence[UUID]) -> None:
    """Put a signed entry into the inbox, and remember which requests it speaks of."""
    tx.execute(insert(LedgerInbox).values(entry_id=entry_id, kind=kind, envelope=envelope))
    if requests:
        tx.execute(insert(EntryOfRequest), [{"request_id": each, "entry_id": entry_id} for each in requests])


def certificate_of(tx: Session, request_id: UUID) -> Certificate:
    """The request's newest certificate, which supersedes the others."""
    later = aliased(Certificate)
    newest = ~exists().where(later.supersedes == Certificate.id)
    found = tx.scalar(select(Certificate).where(Certificate.request_id == request_id, newest))
    if found is None:
        raise NotFound("The request has no certificate yet")
    return found


# ---- what the sequencer does ----------------------------------------------------------------------------------------


def lock(tx: Session) -> bool:
    """Become the sequencer until the transaction ends; False if somebody else is."""
    return tx.scalars(select(func.pg_try_advisory_xact_lock(SEQUENCER))).one()


def head(tx: Session) -> LedgerHead:
    """The head, locked; an empty one before the first entry."""
    tx.execute(upsert(LedgerHead).values(id=1, size=0, frontier=[]).on_conflict_do_nothing())
    return tx.scalars(select(LedgerHead).with_for_update().execution_options(populate_existing=True)).one()


def take(tx: Session, limit: int) -> Sequence[LedgerInbox]:
    """The entries that have waited longest."""
    return tx.scalars(select(LedgerInbox).order_by(LedgerInbox.id).limit(limit)).all()


def advance(tx: Session, nodes: Sequence[tuple[Subtree, bytes]], *, size: int, frontier: Sequence[bytes]) -> None:
    """Store the completed subtrees, and the head that stands on them."""
    tx.execute(insert(LedgerNode), [{"level": tree[0], "idx": tree[1], "hash": value} for tree, value in nodes])
    tx.execute(update(LedgerHead).values(size=size, frontier=list(frontier)))


def settle(tx: Session, taken: Sequence[LedgerInbox], *, first: int, hashes: Sequence[bytes]) -> None:
    """Move entries from the inbox to the ledger, the first of them to index `first`."""
    leaves = [
        {"idx": index, "leaf_hash": leaf, "entry_id": each.entry_id, "kind": each.kind, "envelope": each.envelope}
        for index, (each, leaf) in enumerate(zip(taken, hashes, strict=True), first)
    ]
    tx.execute(insert(LedgerLeaf), leaves)
    tx.execute(delete(LedgerInbox).where(LedgerInbox.id.in_([each.id for each in taken])))


def add_checkpoint(tx: Session, *, size: int, root: bytes, note: str) -> None:
    tx.execute(insert(LedgerCheckpoint).values(size=size, root=root, note=note))


# ---- what everybody reads -------------------------------------------------------------------------------------------


def latest_checkpoint(tx: Session) -> LedgerCheckpoint | None:
    return tx.scalar(select(LedgerCheckpoint).order_by(LedgerCheckpoint.size.desc()).limit(1))


def checkpoint_covering(tx: Session, index: int) -> LedgerCheckpoint | None:
    """The first checkpoint whose tree has entry `index`, so that a bundle is the same whenever it is made."""
    return tx.scalar(
        select(LedgerCheckpoint).where(LedgerCheckpoint.size > index).order_by(LedgerCheckpoint.size).limit(1)
    )


def leaf(tx: Session, index: int) -> LedgerLeaf:
    found = tx.get(LedgerLeaf, index)
    if found is None:
        raise NotFound("The ledger has no entry of this index")
    return found


def leaf_of(tx: Session, entry_id: UUID) -> LedgerLeaf | None:
    return tx.scalar(select(LedgerLeaf).where(LedgerLeaf.entry_id == entry_id))


def entries_of(tx: Session, request_id: UUID) -> Sequence[LedgerLeaf]:
    """All that the ledger says of a request, in order; what waits in the inbox is not yet said."""
    of_request = select(EntryOfRequest.entry_id).where(EntryOfRequest.request_id == request_id)
    return tx.scalars(select(LedgerLeaf).where(LedgerLeaf.entry_id.in_(of_request)).order_by(LedgerLeaf.idx)).all()


def nodes(tx: Session, wanted: Sequence[Subtree]) -> Mapping[Subtree, bytes]:
    """The stored subtrees among `wanted`, in one query."""
    place = tuple_(LedgerNode.level, LedgerNode.idx)
    found = tx.execute(select(LedgerNode.level, LedgerNode.idx, LedgerNode.hash).where(place.in_(wanted)))
    return {(level, index): value for level, index, value in found}
