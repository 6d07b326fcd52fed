"""A bundle under examination: what it may hold, and its parts, each read when it is first asked for."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from service.ledger import checkpoints
from service.ledger.sealed import Sealed, Trust
from service.ledger.untrusted import (
    BUNDLE_LIMIT,
    FILE_LIMIT,
    JSON_LIMIT,
    TEXT_LIMIT,
    RefusedError,
    as_written,
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
    "later.json": JSON_LIMIT,
}
OPTIONAL = frozenset({"report.pdf", "recipe-report.json", "later.json"})


@dataclass(frozen=True)
class Case:
    """One bundle and what to hold it against."""

    bundle: Path
    keys: str
    seen: str | None
    consistency: str | None
    weights: Path | None
    receipt: bytes | None

    @cached_property
    def members(self) -> dict[str, bytes]:
        return unpack(read(self.bundle, BUNDLE_LIMIT), MEMBERS)

    @cached_property
    def trust(self) -> Trust:
        keys = checkpoints.read_keys(self.keys)
        certificates = tuple(key for key in keys if checkpoints.signs_certificates(key))
        return Trust(certificates, tuple(key for key in keys if key not in certificates))

    @cached_property
    def certificate(self) -> Sealed:
        return Sealed(self.members["envelope.json"], text(self.members["proof.tlog-proof"]))

    @cached_property
    def digests(self) -> dict[str, str]:
        """SHA-256 in hex of each file that the certificate speaks of."""
        subjects = items(self.certificate.statement, "subject")
        found = {field(each, "name", str): field(each, "digest.sha256", str) for each in subjects}
        if len(found) != len(subjects):
            raise RefusedError("the certificate names a file twice")
        return found

    @cached_property
    def later(self) -> list[Sealed]:
        entries = items(read_json(self.members["later.json"]), "entries")
        told = [{name: field(each, name, str) for name in ("envelope", "proof")} for each in entries]
        as_written({"entries": told}, self.members["later.json"])
        return [Sealed(unbase64(each["envelope"]), text(each["proof"].encode())) for each in told]

    def asks(self, step: int) -> bool:
        """Whether a step has anything to check; asked in order, so a bundle without parts is refused before."""
        optional: Mapping[int, Callable[[], bool]] = {
            6: lambda: self.seen is not None,
            8: lambda: self.weights is not None,
            9: lambda: "later.json" in self.members,
            10: lambda: self.receipt is not None,
        }
        return optional.get(step, lambda: True)()
