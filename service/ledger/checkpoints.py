"""Named keys, signed notes, checkpoints and proofs as texts. Part of the offline verifier.

Formats: C2SP signed-note, tlog-checkpoint and tlog-proof (https://c2sp.org), signed by Ed25519 or ECDSA P-256.
"""

import re
from base64 import b64encode
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Literal, NamedTuple

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ec import ECDSA, SECP256R1, EllipticCurvePublicKey
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_der_public_key

from service.ledger.untrusted import RefusedError, unbase64

ED25519, ECDSA_P256 = b"\x01", b"\x02"
CERTIFICATES = "/certificates"      # the key `<origin>/certificates` signs certificates, `<origin>` signs checkpoints
_NAME = r"[^\s+]+"
_NUMBER = r"(?:0|[1-9][0-9]{0,18})"
_HASH = r"[A-Za-z0-9+/]{43}="
_UNTIL = re.compile(rf"until=({_NUMBER})")
_CHECKPOINT = re.compile(rf"({_NAME})\n({_NUMBER})\n({_HASH})\n(?:[^\n]+\n)*")
_SIGNATURES = re.compile(rf"(?:— {_NAME} [^\s]+\n)+")
_PROOF = re.compile(rf"c2sp\.org/tlog-proof@v1\nextra ({_HASH})\nindex ({_NUMBER})\n((?:{_HASH}\n)*)\n(.*)", re.DOTALL)


class Vkey(NamedTuple):
    """A named public key, written `name+id+base64(type ‖ key)`.

    An Ed25519 key is its 32 bytes, and its id SHA-256(name ‖ 0x0A ‖ type ‖ key)[:4]. A P-256 key is its SPKI in DER,
    its signatures are DER over SHA-256, and its id is SHA-256(key)[:4]: the signed-note specification makes this
    exception for type 0x02, and verifiers of other houses refuse a line with any other id.
    """

    name: str
    public: bytes
    until: int | None = None        # entries from this index on, and trees larger than it, are not this key's
    type: bytes = ED25519

    @property
    def id(self) -> bytes:
        named = self.name.encode() + b"\n" + self.type if self.type == ED25519 else b""
        return sha256(named + self.public).digest()[:4]

    @property
    def label(self) -> str:
        return f"{self.name}+{self.id.hex()}"

    def __str__(self) -> str:
        return f"{self.label}+{_base64(self.type + self.public)}"

    def check(self, signature: bytes, message: bytes) -> None:
        """Refuses a signature that this key did not make."""
        try:
            if self.type == ED25519:
                Ed25519PublicKey.from_public_bytes(self.public).verify(signature, message)
            else:
                _p256(self.public).verify(signature, message, ECDSA(SHA256()))
        except (InvalidSignature, ValueError) as error:
            raise RefusedError("the signature of a trusted key does not match") from error


def _p256(spki: bytes) -> EllipticCurvePublicKey:
    """The key, which must be of this curve and in the one encoding that its id is made of."""
    try:
        key = load_der_public_key(spki)
    except UnsupportedAlgorithm:
        raise ValueError("not a P-256 key") from None
    if not isinstance(key, EllipticCurvePublicKey) or not isinstance(key.curve, SECP256R1):
        raise ValueError("not a P-256 key")  # noqa: TRY004  one refusal for everything that the bytes may be
    if key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo) != spki:
        raise ValueError("not the canonical encoding")
    return key


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
    """The keys of a key file: one per line, with ` until=N` where it is retired; a line that begins with `#` is none.

    Raises:
        RefusedError: a line is anything else, or a key occurs twice.
    """
    lines = (line for line in trust.split("\n") if line.strip() and not line.startswith("#"))
    keys = tuple(_read_key(line) for line in lines)
    if len({str(key) for key in keys}) != len(keys):
        raise RefusedError("the key file names a key twice")
    return keys


def write_keys(keys: Sequence[Vkey]) -> str:
    """The text of a key file; `read_keys` gives the same keys."""
    return "".join(f"{key}\n" if key.until is None else f"{key} until={key.until}\n" for key in keys)


def _read_key(line: str) -> Vkey:
    vkey, _, attribute = line.partition(" ")
    until = _UNTIL.fullmatch(attribute)
    name, _, rest = vkey.partition("+")
    decoded = unbase64(rest.partition("+")[2])
    key = Vkey(name, decoded[1:], int(until[1]) if until else None, decoded[:1])
    if write_keys([key]) != f"{line}\n" or not re.fullmatch(_NAME, name) or not _usable(key):
        raise RefusedError("the key file has a line that is no key")
    return key


def _usable(key: Vkey) -> bool:
    try:
        return (key.type == ED25519 and len(key.public) == 32) or (key.type == ECDSA_P256 and bool(_p256(key.public)))
    except ValueError:
        return False


def signs_certificates(key: Vkey) -> bool:
    """Keys of the two kinds differ by name, so that neither signature can be passed off as the other."""
    return key.name.endswith(CERTIFICATES)


def use_of(key: Vkey) -> Literal["certificates", "checkpoints"]:
    """What it signs."""
    return "certificates" if signs_certificates(key) else "checkpoints"


def listed(keys: Sequence[Vkey]) -> list[dict[str, str | int]]:
    """Keys as keys.json shows them: `until` only where a key is retired."""
    named: list[dict[str, str | int]] = [{"vkey": str(key), "signs": use_of(key)} for key in keys]
    return [each if key.until is None else each | {"until": key.until} for each, key in zip(named, keys, strict=True)]


# ---- checkpoints ----------------------------------------------------------------------------------------------------


def write(key: Vkey, size: int, root: bytes, *, sign: Callable[[bytes], bytes]) -> str:
    """The signed checkpoint of a tree; the log's key bears the log's name."""
    body = f"{key.name}\n{size}\n{_base64(root)}\n"
    return f"{body}\n" + _signature(key, body, sign)


def cosign(note: str, key: Vkey, *, sign: Callable[[bytes], bytes]) -> str:
    """The same checkpoint, signed by another key of the log too."""
    return note + _signature(key, parse(note).text, sign)


def _signature(key: Vkey, body: str, sign: Callable[[bytes], bytes]) -> str:
    return f"— {key.name} {_base64(key.id + sign(body.encode()))}\n"


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
