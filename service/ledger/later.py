"""What the ledger says of a request besides its certificate, as far as a bundle tells. Part of the offline verifier."""

from collections.abc import Iterable, Sequence
from itertools import pairwise

from service.ledger import schema
from service.ledger.schema import require_statement
from service.ledger.sealed import Sealed, Trust, check_checkpoint, check_inclusion, check_leaf, check_signature
from service.ledger.untrusted import RefusedError, at, field, items


def check(entries: Sequence[Sealed], certificate: Sealed, trust: Trust) -> str:
    """What they say, in the ledger's order; refuses a certificate that no longer counts."""
    told: list[str] = []
    for number, entry in enumerate(entries, 1):
        try:
            told.append(_check_one(entry, certificate, trust))
        except RefusedError as refusal:
            raise RefusedError(f"entry {number} of later.json: {refusal}") from refusal
    _refuse_forks([certificate, *entries])
    places = [entry.proof.index for entry in entries]
    if any(first >= second for first, second in pairwise(places)):
        raise RefusedError("the entries of later.json are not in the ledger's order")
    corrections = [each for entry in entries for each in _corrections(entry, certificate)]
    if corrections:
        raise RefusedError("; ".join(corrections))
    return "; ".join(told) or "none"


def _check_one(entry: Sealed, certificate: Sealed, trust: Trust) -> str:
    """The steps 1 to 5 of a certificate, and whose request it speaks of."""
    signers = check_signature(entry, trust.certificates)
    kind = require_statement(entry.statement)
    check_leaf(entry)
    check_inclusion(entry, signers)
    check_checkpoint(entry.checkpoint, trust.log)
    if field(certificate.statement, "predicate.request.request_id", str) not in _requests(entry, kind):
        raise RefusedError("it speaks of another request")
    if entry.leaf == certificate.leaf:
        raise RefusedError("it is the certificate itself")
    return f"{_words(entry.statement, kind)}, entry {entry.proof.index}"


def _requests(entry: Sealed, kind: str) -> list[object]:
    """The requests that an entry speaks of."""
    if kind in (schema.ATTEMPT, schema.FAILURE, schema.ERASURE):
        return items(entry.statement, "predicate.request_ids")
    return [at(entry.statement, f"predicate.{'request.' if kind == schema.CERTIFICATE else ''}request_id")]


def _words(statement: object, kind: str) -> str:
    match kind:
        case schema.ATTEMPT:
            return f"attempt: {field(statement, 'predicate.attempt.outcome', str)}"
        case schema.ERASURE:
            kept = sum(field(each, "count", int) for each in items(statement, "predicate.kept"))
            objects, rows = len(items(statement, "predicate.erased")), field(statement, "predicate.rows", int)
            return f"erased: {_many(objects, 'object')}, {_many(rows, 'row')}" + (f", {kept} kept" if kept else "")
        case schema.CORRECTION:
            return "another certificate was corrected"
        case schema.CERTIFICATE:
            return "another certificate"
        case _:
            return {schema.FAILURE: "failure", schema.SALT: "salt forgotten"}[kind]


def _many(n: int, noun: str) -> str:
    return f"{n} {noun}" if n == 1 else f"{n} {noun}s"


def _corrections(entry: Sealed, certificate: Sealed) -> Iterable[str]:
    """Sentences, where an entry says that this certificate no longer counts."""
    ours, said = field(certificate.statement, "predicate.request.certificate_id", str), entry.statement
    place = f"entry {entry.proof.index}"
    if at(said, "predicate.supersedes") == ours:
        yield f"the certificate was superseded by another one: {place}"
    if ours == at(said, "predicate.certificate_id") or certificate.leaf.hex() == at(said, "predicate.leaf_hash"):
        done = {"revokes": "revoked", "supersedes": "superseded"}[field(said, "predicate.action", str)]
        yield f"the certificate was {done} ({field(said, 'predicate.reason', str)}): {place}"


def _refuse_forks(entries: Iterable[Sealed]) -> None:
    """Trees of one size are one tree, and all are of one ledger."""
    trees = [entry.checkpoint for entry in entries]
    if len({tree.origin for tree in trees}) > 1:
        raise RefusedError("the entries are of several ledgers")
    if len({(tree.size, tree.root) for tree in trees}) > len({tree.size for tree in trees}):
        raise RefusedError("the ledger has two trees of one size: keep the bundle, it proves it")
