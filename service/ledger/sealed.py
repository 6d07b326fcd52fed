"""A signed envelope that claims to be an entry of the ledger, and the proof of that. Part of the offline verifier."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

from service.domain import merkle
from service.ledger import checkpoints
from service.ledger.checkpoints import Checkpoint, Proof, Vkey
from service.ledger.untrusted import RefusedError, field, items, read_json, unbase64

PAYLOAD_TYPE = "application/vnd.in-toto+json"
NOT_IN_FORCE = "the key that signed was retired before"


class Trust(NamedTuple):
    """The keys that the verifier was given, by what they may sign."""

    certificates: tuple[Vkey, ...]
    log: tuple[Vkey, ...]


@dataclass(frozen=True)
class Sealed:
    """One envelope and its proof; each part is read when it is first asked for, and believed when it was checked."""

    envelope: bytes
    tlog_proof: str

    @cached_property
    def read(self) -> object:
        return read_json(self.envelope)

    @cached_property
    def payload(self) -> bytes:
        return unbase64(field(self.read, "payload", str))

    @cached_property
    def statement(self) -> object:
        return read_json(self.payload)

    @cached_property
    def proof(self) -> Proof:
        return checkpoints.parse_proof(self.tlog_proof)

    @cached_property
    def checkpoint(self) -> Checkpoint:
        return checkpoints.parse(self.proof.note)

    @cached_property
    def leaf(self) -> bytes:
        return merkle.leaf_hash(self.envelope)


def check_signature(entry: Sealed, keys: Sequence[Vkey]) -> tuple[Vkey, ...]:
    """The trusted keys that signed. PAE(type, body) = "DSSEv1" SP len(type) SP type SP len(body) SP body."""
    kind = field(entry.read, "payloadType", str)
    if kind != PAYLOAD_TYPE:
        raise RefusedError("the envelope holds no in-toto statement")
    encoded = b"DSSEv1 %d %b %d %b" % (len(kind), kind.encode(), len(entry.payload), entry.payload)
    named = {key.label: key for key in keys}
    known = [each for each in items(entry.read, "signatures") if field(each, "keyid", str) in named]
    if not known:
        raise RefusedError("no trusted certificate key signed the envelope")
    for each in known:
        named[field(each, "keyid", str)].check(unbase64(field(each, "sig", str)), encoded)
    return tuple(named[field(each, "keyid", str)] for each in known)


def check_leaf(entry: Sealed) -> None:
    """The proof is about exactly this envelope."""
    if entry.proof.leaf != entry.leaf:
        raise RefusedError("the proof is about another envelope")


def check_inclusion(entry: Sealed, signers: Sequence[Vkey]) -> None:
    """The leaf is in the tree, at a place where the key that signed the envelope was still in force."""
    index, tree = entry.proof.index, entry.checkpoint
    if not merkle.verify_inclusion(index, tree.size, entry.proof.path, leaf=entry.leaf, root=tree.root):
        raise RefusedError("the path does not lead from the leaf to the checkpoint's root")
    if not any(key.until is None or index < key.until for key in signers):
        raise RefusedError(f"{NOT_IN_FORCE} entry {index}")


def check_checkpoint(checkpoint: Checkpoint, keys: Sequence[Vkey]) -> Vkey:
    """The trusted ledger key that signed, which was in force when the tree had this size."""
    checkpoints.check_note(checkpoint, keys)
    in_force = [key for key in keys if key.until is None or checkpoint.size <= key.until]
    try:
        return checkpoints.check_note(checkpoint, in_force)
    except RefusedError as error:
        raise RefusedError(f"{NOT_IN_FORCE} the ledger had {checkpoint.size} entries") from error
