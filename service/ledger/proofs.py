"""Proofs from the stored nodes: each reads O(log n) of them, in one query."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from uuid import UUID

from sqlalchemy.orm import Session

from service.db import ledger
from service.domain import merkle
from service.errors import BadInput, Fault, LedgerBroken
from service.ledger.checkpoints import Proof, write_proof


@dataclass(frozen=True, slots=True)
class Receipt:
    """Where an entry stands in the ledger, and the texts that prove it."""

    index: int
    tlog_proof: str
    checkpoint: str


def inclusion(tx: Session, index: int, size: int) -> list[bytes]:
    """The audit path of entry `index` in the tree of `size` entries."""
    latest = ledger.signed_size(tx)
    if not 0 <= index < size <= latest:
        raise _out_of_range("/index", f"0 <= index < size <= {latest} must hold")
    return merkle.inclusion(index, size, _lookup(tx, merkle.inclusion_subtrees(index, size)))


def consistency(tx: Session, first: int, second: int) -> list[bytes]:
    """Evidence that the tree of `second` entries begins with the tree of `first` entries."""
    latest = ledger.signed_size(tx)
    if not 0 <= first <= second <= latest:
        raise _out_of_range("/from", f"0 <= from <= to <= {latest} must hold")
    return between(tx, first, second)


def between(tx: Session, first: int, second: int) -> list[bytes]:
    """The same of any two sizes that the stored nodes allow, signed or not."""
    return merkle.consistency(first, second, _lookup(tx, merkle.consistency_subtrees(first, second)))


def receipt(tx: Session, entry_id: UUID) -> Receipt | None:
    """The inclusion of an entry under the first checkpoint that covers it; None while it waits in the inbox."""
    leaf = ledger.leaf_of(tx, entry_id)
    checkpoint = None if leaf is None else ledger.checkpoint_covering(tx, leaf.idx)
    if leaf is None or checkpoint is None:
        return None
    path = inclusion(tx, leaf.idx, checkpoint.size)
    proof = Proof(leaf=leaf.leaf_hash, index=leaf.idx, path=tuple(path), note=checkpoint.note)
    return Receipt(leaf.idx, write_proof(proof), checkpoint.note)


def _lookup(tx: Session, wanted: Sequence[merkle.Subtree]) -> Callable[[merkle.Subtree], bytes]:
    found = ledger.nodes(tx, wanted)
    if len(found) != len(set(wanted)):
        raise LedgerBroken("The ledger lacks nodes that its size says it has")
    return found.__getitem__


def _out_of_range(pointer: str, detail: str) -> BadInput:
    return BadInput(f"The proof that was asked for does not exist: {detail}", faults=[Fault(pointer, detail)])
