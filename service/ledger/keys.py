"""The folder of keys: one signs certificates, one signs checkpoints, one makes the pseudonyms of the index.

    certificate.pem, log.pem    private keys; or, for keys in a KMS or HSM, certificate.uri and log.uri: URI and vkey
    index.key                   of the pseudonyms
    hsm.pin                     of an HSM, where it wants one
    expunge.pub                 every public key there ever was, the newest of each use last; what verifiers are given
"""

import os
import stat
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from secrets import token_bytes
from typing import Literal, NamedTuple

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, load_pem_private_key

from service.errors import AlreadyExists, UnusableKeys
from service.ledger import signers
from service.ledger.checkpoints import CERTIFICATES, Vkey, cosign, read_keys, write, write_keys
from service.ledger.signers import Pair
from service.ledger.untrusted import RefusedError

CERTIFICATE_FILE, LOG_FILE, INDEX_FILE, PUBLIC_FILE = "certificate.pem", "log.pem", "index.key", "expunge.pub"
PIN_FILE = "hsm.pin"
Use = Literal["certificate", "log"]
USES: tuple[Use, Use] = ("certificate", "log")
FILES = (*(f"{use}.{kind}" for use in USES for kind in ("pem", "uri")), INDEX_FILE, PUBLIC_FILE)


@dataclass(frozen=True, slots=True)
class Keys:
    """All keys of one deployment."""

    certificate: Pair
    log: Pair
    index_key: bytes = field(repr=False)
    public: tuple[Vkey, ...]        # all there ever were
    outgoing: Pair | None = None    # the log's key until now: it signs one checkpoint together with the new one

    @property
    def origin(self) -> str:
        return self.log.vkey.name

    @property
    def trust(self) -> str:
        """The text of `expunge.pub`: what a third party pins."""
        return write_keys(self.public)

    def checkpoint(self, size: int, root: bytes) -> str:
        """The signed note of a tree."""
        note = write(self.log.vkey, size, root, sign=self.log.sign)
        return note if self.outgoing is None else cosign(note, self.outgoing.vkey, sign=self.outgoing.sign)


class Remote(NamedTuple):
    """A key in a KMS or HSM, as its file says where it lies."""

    uri: str
    vkey: str

    def __str__(self) -> str:
        return f"{self.uri}\n{self.vkey}\n"


Secret = Ed25519PrivateKey | Remote


# ---- making ---------------------------------------------------------------------------------------------------------


def new(folder: Path, origin: str, *, certificate_signer: str | None = None, log_signer: str | None = None) -> Keys:
    """Make a folder of keys; one that holds any of them already is left as it is.

    Args:
        certificate_signer, log_signer: URI of a key in a KMS or HSM, whose public half is fetched; None: a fresh file.
    """
    if not origin or origin.endswith(CERTIFICATES) or any(c.isspace() or c == "+" for c in origin):
        raise UnusableKeys("The origin must be a name without spaces and plus signs, such as example.com/log")
    if any((folder / name).exists() for name in FILES):
        raise AlreadyExists("The folder holds keys already")
    certificate, certificate_secret = make(folder, name_of("certificate", origin), certificate_signer)
    log, log_secret = make(folder, origin, log_signer)
    keys = Keys(certificate, log, token_bytes(32), (certificate.vkey, log.vkey))
    _make_folder(folder)
    for use, secret in (("certificate", certificate_secret), ("log", log_secret)):
        name, content = written(use, secret)
        _create(folder / name, content, mode=0o600)
    _create(folder / INDEX_FILE, keys.index_key.hex() + "\n", mode=0o600)
    _create(folder / PUBLIC_FILE, keys.trust, mode=0o644)
    return keys


def make(folder: Path, name: str, uri: str | None) -> tuple[Pair, Secret]:
    """A fresh key in memory, or the one at a URI."""
    if uri is None:
        private = Ed25519PrivateKey.generate()
        return signers.local(name, private), private
    full, pair = signers.take(uri, name, _pin(folder))
    return pair, Remote(full, str(pair.vkey))


def written(stem: str, secret: Secret) -> tuple[str, str]:
    """Name and content of the file that `secret` reads."""
    return (f"{stem}.uri", str(secret)) if isinstance(secret, Remote) else (f"{stem}.pem", _pem(secret))


def _create(path: Path, content: str, *, mode: int) -> None:
    # O_EXCL: nobody, not even a second `keys new` at the same moment, overwrites a key.
    try:
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "w") as file:
            file.write(content)
    except OSError:
        raise UnusableKeys(f"{path.name} cannot be made") from None


def _pem(private: Ed25519PrivateKey) -> str:
    return private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError:
        raise UnusableKeys("The folder of the keys cannot be made") from None


# ---- reading --------------------------------------------------------------------------------------------------------


def load(folder: Path) -> Keys:
    """Read the keys that `new` made, and refuse a folder whose parts do not belong together or lie open."""
    # Secrets first: a rotation makes a key public before it is used, so that whoever reads meanwhile finds its line.
    certificate, log = secret(folder, "certificate"), secret(folder, "log")
    index, public = index_key(folder), public_keys(folder)
    keys = Keys(_bound(folder, "certificate", certificate, public), _bound(folder, "log", log, public), index, public)
    if not {keys.certificate.vkey, keys.log.vkey} <= set(public):      # a line with an end is another one
        raise _strangers()
    return keys


def public_keys(folder: Path) -> tuple[Vkey, ...]:
    """The lines of `expunge.pub`, of one origin."""
    try:
        public = read_keys(trust(folder))
    except RefusedError as refusal:
        raise UnusableKeys(f"{PUBLIC_FILE}: {refusal}") from None
    origins = {key.name.removesuffix(CERTIFICATES) for key in public}
    if len(origins) != 1 or len({key.name for key in public}) != len(USES):
        raise UnusableKeys(f"{PUBLIC_FILE} must hold a certificate key and a log key of one origin")
    return public


def secret(folder: Path, stem: str) -> Secret:
    """What `written` says; beside a URI a private key is only what a rotation has not removed yet."""
    file = folder / f"{stem}.uri"
    if not file.exists():
        return _private(folder / f"{stem}.pem")
    lines = _read_secret(file).splitlines()
    if len(lines) != len(Remote._fields):
        raise UnusableKeys(f"{file.name} must hold a URI and a verifier key, a line each")
    return Remote(*lines)


def bound(folder: Path, secret: Secret, name: str) -> Pair:
    """The pair of a secret under a name of ours."""
    if not isinstance(secret, Remote):
        return signers.local(name, secret)
    try:
        vkey = read_keys(secret.vkey)[0]
    except (RefusedError, IndexError):
        raise UnusableKeys("The verifier key beside the URI of a signer is none") from None
    if vkey.name != name:
        raise _strangers()
    return signers.remote(secret.uri, vkey, _pin(folder))


def name_of(use: Use, origin: str) -> str:
    return origin + CERTIFICATES if use == "certificate" else origin


def _bound(folder: Path, use: Use, secret: Secret, public: Sequence[Vkey]) -> Pair:
    return bound(folder, secret, name_of(use, public[0].name.removesuffix(CERTIFICATES)))


def trust(folder: Path) -> str:
    """The text of `expunge.pub`, for a process that has no business with the private keys."""
    return _read(folder / PUBLIC_FILE)


def index_key(folder: Path) -> bytes:
    """The key of the index's pseudonyms alone."""
    path = folder / INDEX_FILE
    try:
        key = bytes.fromhex(_read_secret(path).strip())
    except ValueError:
        key = b""
    if len(key) != 32:
        raise UnusableKeys(f"{path.name} must be 64 hex digits")
    return key


def _strangers() -> UnusableKeys:
    return UnusableKeys(f"{PUBLIC_FILE} does not belong to the private keys beside it")


def _pin(folder: Path) -> Callable[[str], str]:
    return lambda _: _read_secret(folder / PIN_FILE).strip()


def _read(path: Path) -> str:
    try:
        return path.read_text("utf-8")
    except (OSError, UnicodeDecodeError):
        raise UnusableKeys(f"{path.name} cannot be read") from None


def _read_secret(path: Path) -> str:
    content = _read(path)
    if stat.S_IMODE(path.stat().st_mode) & 0o077:
        raise UnusableKeys(f"{path.name} is open to others; chmod 600 it, and make new keys if in doubt")
    return content


def _private(path: Path) -> Ed25519PrivateKey:
    try:
        private = load_pem_private_key(_read_secret(path).encode(), None)
    except (ValueError, TypeError):
        raise UnusableKeys(f"{path.name} is not an unencrypted PKCS#8 key") from None
    if not isinstance(private, Ed25519PrivateKey):
        raise UnusableKeys(f"{path.name} is not an Ed25519 key")
    return private
