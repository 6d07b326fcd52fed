"""Entries of the ledger besides certificates: attempts, failures, erasures, corrections, keys, forgotten salts.

Each is an in-toto statement of its own predicate type, sealed like a certificate. No value in one is personal.
"""

from collections.abc import Mapping
from typing import Annotated, ClassVar, Literal
from uuid import UUID, uuid5

from pydantic import Field

from service.domain.certificates import (
    STATEMENT_TYPE,
    Attempt,
    Digest,
    ErasedKind,
    Sentence,
    Subject,
    Thing,
    Utc,
    canonical,
)
from service.domain.values import Value

Kind = Literal["certificate", "attempt", "failure", "erasure", "correction", "key", "salt"]
Reason = Literal[
    "evidence-was-wrong", "audited-again", "issued-by-mistake", "key-compromised", "data-was-wrong", "other"
]
Action = Literal["revokes", "supersedes"]
KeyReason = Literal["key-compromised", "no-longer-used", "other"]
_BASE = "https://expunge.example"


class Entry(Value):
    """A predicate that is sealed and logged; `kind` is its name in the ledger, `type` the URI that is signed."""

    kind: ClassVar[Kind]
    type: ClassVar[str]


class Attempted(Entry):
    """A rung of the ladder whose model was not published: it leaked, broke a guard, diverged or was refused."""

    kind: ClassVar[Kind] = "attempt"
    type: ClassVar[str] = f"{_BASE}/unlearning-attempt/v1"

    request_ids: Annotated[tuple[UUID, ...], Field(min_length=1)]
    job_id: UUID
    run: Annotated[int, Field(gt=0)]            # of the job: a worker that was lost is followed by another
    rung: Annotated[int, Field(gt=0)]
    attempt: Attempt
    policy_sha256: Digest
    at: Utc


class Failed(Entry):
    """A request that ended without a certificate, though nobody withdrew it."""

    kind: ClassVar[Kind] = "failure"
    type: ClassVar[str] = f"{_BASE}/unlearning-failure/v1"

    request_ids: Annotated[tuple[UUID, ...], Field(min_length=1)]
    job_id: UUID
    runs: Annotated[int, Field(ge=0)]
    reason: Sentence
    at: Utc


class Erased(Entry):
    """Things that remembered, and are gone: digests of what they were, and what could not be erased yet and why."""

    kind: ClassVar[Kind] = "erasure"
    type: ClassVar[str] = f"{_BASE}/erasure/v1"

    request_ids: Annotated[tuple[UUID, ...], Field(min_length=1)]
    job_id: UUID
    erased: tuple[Thing, ...]
    kept: tuple["Kept", ...] = ()
    rows: Annotated[int, Field(ge=0)]           # of the data set that were taken out of file, tensors and index
    suppressed: Annotated[int, Field(ge=0)]     # references that no later data set may hold
    limits: tuple[Sentence, ...]
    at: Utc


class Kept(Value):
    """What is still there, and why."""

    kind: ErasedKind
    count: Annotated[int, Field(gt=0)]
    why: Sentence


class Corrected(Entry):
    """A certificate that no longer counts: revoked, or superseded by another entry of the ledger."""

    kind: ClassVar[Kind] = "correction"
    type: ClassVar[str] = f"{_BASE}/correction/v1"

    request_id: UUID
    action: Action
    certificate_id: UUID                        # that is corrected
    leaf_hash: Digest                           # of its entry
    by: UUID | None = None                      # the certificate that takes its place
    reason: Reason
    at: Utc


def correction_id(certificate_id: UUID, action: Action) -> UUID:
    """Of the entry: a certificate is revoked, and superseded, at most once."""
    return uuid5(certificate_id, action)


class KeyChanged(Entry):
    """A key that begins to sign in another's place, or that signs no more."""

    kind: ClassVar[Kind] = "key"
    type: ClassVar[str] = f"{_BASE}/key/v1"

    action: Literal["rotated", "retired"]
    use: Literal["certificates", "checkpoints"]
    vkey: Sentence                              # that begins, or that is retired
    replaces: Sentence | None = None            # the vkey that signed until now
    reason: KeyReason | None = None
    at: Utc


class SaltForgotten(Entry):
    """The salt of a request is deleted: from here on nobody can link its commitments to anything."""

    kind: ClassVar[Kind] = "salt"
    type: ClassVar[str] = f"{_BASE}/salt-forgotten/v1"

    request_id: UUID
    at: Utc


ENTRIES: tuple[type[Entry], ...] = (Attempted, Failed, Erased, Corrected, KeyChanged, SaltForgotten)


def statement(entry: Entry, subjects: Mapping[str, str]) -> bytes:
    """The canonical bytes that get signed.

    Args:
        subjects: name → SHA-256 in hex of what the entry speaks of; in-toto asks for one at least.
    """
    named = [Subject(name=name, digest={"sha256": digest}) for name, digest in sorted(subjects.items())]
    if not named:
        raise ValueError("a statement needs a subject")
    return canonical({
        "_type": STATEMENT_TYPE,
        "subject": [each.model_dump(mode="json") for each in named],
        "predicateType": entry.type,
        "predicate": entry.model_dump(mode="json"),
    })
