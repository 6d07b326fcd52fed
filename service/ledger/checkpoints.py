"""Named keys, signed notes, checkpoints and proofs as texts. Part of the offline verifier.

Formats: C2SP signed-note, tlog-checkpoint and tlog-proof (https://c2sp.org), Ed25519 only.
"""

import re
from base64 import b64encode
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import NamedTuple

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from service.ledger.untrusted import RefusedError, unbase64

ED25519 = b"\x01"
CERTIFICATES = "/certificates"      # the key `<origin>/certificates` signs certificates, `<origin>` signs checkpoints
_NAME = r"[^\s+]+"
_NUMBER = r"(?:0|[1-9][0-9]{0,18})"
_HASH = r"[A-Za-z0-9+/]{43}="
_CHECKPOINT = re.compile(rf"({_NAME})\n({_NUMBER})\n({_HASH})\n(?:[^\n]+\n)*")
_SIGNATURES = re.compile(rf"(?:— {_NAME} [^\s]+\n)+")
_PROOF = re.compile(rf"c2sp\.org/tlog-proof@v1\nextra ({_HASH})\nindex ({_NUMBER})\n((?:{_HASH}\n)*)\n(.*)", re.DOTALL)


class Vkey(NamedTuple):
    """A named public key, written `name+id+base64(type ‖ key)`."""

    name: str
    public: bytes
    until: int | None = None        # entries from this index on, and trees larger than it, are not this key's

    @property
    def id(self) -> bytes:
        return sha256(self.name.encode() + b"\n" + ED25519 + self.public).digest()[:4]

    @property
    def label(self) -> str:
        return f"{self.name}+{self.id.hex()}"

    def __str__(self) -> str:
        return f"{self.label}+{_base64(ED25519 + self.public)}"

    def check(self, signature: bytes, message: bytes) -> None:
        """Refuses a signature that this key did not make."""
        try:
            Ed25519PublicKey.from_public_bytes(self.public).verify(signature, message)
        except (InvalidSignature, ValueError) as error:
            raise RefusedError("the signature of a trusted key does not match") from error


class Checkpoint(NamedTuple):
    """A tree head, and the note it was read from. Worth nothing before `check_note`."""

    origin: str
    size: int
    root: bytes
    text: str
    signatures: tuple[tuple[str, bytes], ...]   # (key name, key id ‖ signature)


@dataclass(frozen=True, slots=True)
class Proof:
    """An inclusion proof, and the note of the checkpoint that it leads to."""

    leaf: bytes     # hash
    index: int
    path: tuple[bytes, ...]
    note: str


# ---- keys -----------------------------------------------------------------------------------------------------------


def read_keys(trust: str) -> tuple[Vkey, ...]:
    """The keys of a key file: one per line; a line that begins with `#` is a comment."""
    return tuple(_read_key(line) for line in trust.splitlines() if line.strip() and not line.startswith("#"))


def _read_key(line: str) -> Vkey:
    name, _, rest = line.partition("+")
    decoded = unbase64(rest.partition("+")[2])
    key = Vkey(name, decoded[1:])
    if len(decoded) != 33 or decoded[:1] != ED25519 or str(key) != line or not re.fullmatch(_NAME, name):
        raise RefusedError("the key file has a line that is no key")
    return key


def signs_certificates(key: Vkey) -> bool:
    """Keys of the two kinds differ by name, so that neither signature can be passed off as the other."""
    return key.name.endswith(CERTIFICATES)


def listed(keys: Sequence[Vkey]) -> list[dict[str, str]]:
    """Keys as keys.json shows them."""
    uses = {True: "certificates", False: "checkpoints"}
    return [{"vkey": str(key), "signs": uses[signs_certificates(key)]} for key in keys]


# ---- checkpoints ----------------------------------------------------------------------------------------------------


def write(key: Vkey, size: int, root: bytes, *, sign: Callable[[bytes], bytes]) -> str:
    """The signed checkpoint of a tree; the log's key bears the log's name."""
    body = f"{key.name}\n{size}\n{_base64(root)}\n"
    return f"{body}\n— {key.name} {_base64(key.id + sign(body.encode()))}\n"


def parse(note: str) -> Checkpoint:
    """Read a checkpoint without believing it."""
    body, _, lines = note.rpartition("\n\n")
    found = _CHECKPOINT.fullmatch(body + "\n")
    if not found or not _SIGNATURES.fullmatch(lines):
        raise RefusedError("a checkpoint is malformed")
    origin, size, root = found.groups()
    signatures = (line.split(" ")[1:] for line in lines.splitlines())
    return Checkpoint(origin, int(size), unbase64(root), body + "\n", tuple((n, unbase64(s)) for n, s in signatures))


def check_note(checkpoint: Checkpoint, keys: Sequence[Vkey]) -> Vkey:
    """The trusted key that signed; signatures of unknown keys are ignored, a wrong one of a known key is refused."""
    signers = [
        (key, blob[4:])
        for name, blob in checkpoint.signatures
        for key in keys
        if (name, blob[:4]) == (key.name, key.id) and name == checkpoint.origin
    ]
    for key, signature in signers:
        key.check(signature, checkpoint.text.encode())
    if not signers:
        raise RefusedError("no trusted ledger key signed the checkpoint")
    return signers[0][0]


# ---- proofs ---------------------------------------------------------------------------------------------------------


def write_proof(proof: Proof) -> str:
    """A `.tlog-proof`; its extra line names the leaf hash, so that a mix-up of files is told from a false proof."""
    head = f"c2sp.org/tlog-proof@v1\nextra {_base64(proof.leaf)}\nindex {proof.index}\n"
    return head + write_path(proof.path) + "\n" + proof.note


def parse_proof(proof: str) -> Proof:
    """Read an inclusion proof without believing it."""
    found = _PROOF.fullmatch(proof)
    if not found:
        raise RefusedError("the inclusion proof is malformed")
    leaf, index, path, note = found.groups()
    return Proof(unbase64(leaf), int(index), parse_path(path), note)


def write_path(path: Sequence[bytes]) -> str:
    """Hashes, one per line."""
    return "".join(f"{_base64(each)}\n" for each in path)


def parse_path(path: str) -> tuple[bytes, ...]:
    """The hashes of a proof, one per line."""
    if not re.fullmatch(rf"(?:{_HASH}\n)*", path):
        raise RefusedError("a proof has a line that is no hash")
    return tuple(unbase64(line) for line in path.splitlines())


def _base64(data: bytes) -> str:
    return b64encode(data).decode()
