"""A bundle under examination: what it may hold, and its parts, each read when it is first asked for."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from re import fullmatch

from service.domain import merkle
from service.ledger import checkpoints
from service.ledger.checkpoints import Checkpoint, Proof, Vkey
from service.ledger.untrusted import (
    BUNDLE_LIMIT,
    FILE_LIMIT,
    JSON_LIMIT,
    TEXT_LIMIT,
    RefusedError,
    field,
    items,
    read,
    read_json,
    text,
    unbase64,
    unpack,
)

REPORTS = ("report.json", "report.pdf", "recipe-report.json")
MEMBERS = {
    "README.txt": TEXT_LIMIT,
    "statement.json": JSON_LIMIT,
    "envelope.json": JSON_LIMIT,
    "proof.tlog-proof": TEXT_LIMIT,
    "checkpoint": TEXT_LIMIT,
    "keys.json": TEXT_LIMIT,
    "report.json": FILE_LIMIT,
    "report.pdf": FILE_LIMIT,
    "recipe-report.json": FILE_LIMIT,
}
OPTIONAL = frozenset({"report.pdf", "recipe-report.json"})


@dataclass(frozen=True)
class Case:
    """One bundle and what to hold it against; each part is read when a step first asks for it."""

    bundle: Path
    trust: str
    seen: str | None
    consistency: str | None
    weights: Path | None

    @cached_property
    def members(self) -> dict[str, bytes]:
        return unpack(read(self.bundle, BUNDLE_LIMIT), MEMBERS)

    @cached_property
    def keys(self) -> tuple[Vkey, ...]:
        return checkpoints.read_keys(self.trust)

    @cached_property
    def log_keys(self) -> tuple[Vkey, ...]:
        return tuple(key for key in self.keys if not checkpoints.signs_certificates(key))

    @cached_property
    def envelope(self) -> object:
        return read_json(self.members["envelope.json"])

    @cached_property
    def payload(self) -> bytes:
        return unbase64(field(self.envelope, "payload", str))

    @cached_property
    def statement(self) -> object:
        return read_json(self.payload)

    @cached_property
    def digests(self) -> dict[str, str]:
        subjects = items(self.statement, "subject")
        found = {field(each, "name", str): field(each, "digest.sha256", str) for each in subjects}
        if len(found) != len(subjects) or not all(fullmatch("[0-9a-f]{64}", each) for each in found.values()):
            raise RefusedError("the subjects are not distinct files with SHA-256 digests")
        return found

    @cached_property
    def proof(self) -> Proof:
        return checkpoints.parse_proof(text(self.members["proof.tlog-proof"]))

    @cached_property
    def checkpoint(self) -> Checkpoint:
        return checkpoints.parse(self.proof.note)

    @cached_property
    def leaf(self) -> bytes:
        return merkle.leaf_hash(self.members["envelope.json"])
