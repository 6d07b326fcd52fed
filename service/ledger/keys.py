"""The service's keys: one signs certificates, one signs checkpoints, one makes the pseudonyms of the index."""

import os
import stat
from dataclasses import dataclass, field
from pathlib import Path
from secrets import token_hex

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
)
from securesystemslib.signer import (
    CryptoSigner,  # pyright: ignore[reportPrivateImportUsage]  # public by its documents, not by an __all__
    SSlibKey,  # pyright: ignore[reportPrivateImportUsage]
)

from service.errors import AlreadyExists, UnusableKeys
from service.ledger.checkpoints import CERTIFICATES, Vkey

CERTIFICATE_FILE, LOG_FILE, INDEX_FILE, PUBLIC_FILE = "certificate.pem", "log.pem", "index.key", "expunge.pub"


@dataclass(frozen=True, slots=True)
class Pair:
    """A named key that can sign; only its public half is ever shown."""

    vkey: Vkey
    signer: CryptoSigner = field(repr=False)

    def sign(self, message: bytes) -> bytes:
        return bytes.fromhex(self.signer.sign(message).signature)


@dataclass(frozen=True, slots=True)
class Keys:
    """All keys of one deployment."""

    certificate: Pair
    log: Pair
    index_key: bytes = field(repr=False)

    @property
    def origin(self) -> str:
        return self.log.vkey.name

    @property
    def trust(self) -> str:
        """The text of `expunge.pub`: what a third party pins."""
        return f"{self.certificate.vkey}\n{self.log.vkey}\n"


def new(folder: Path, origin: str) -> Keys:
    """Make a folder of fresh keys; one that holds any of them already is left as it is."""
    if not origin or origin.endswith(CERTIFICATES) or any(c.isspace() or c == "+" for c in origin):
        raise UnusableKeys("The origin must be a name without spaces and plus signs, such as example.com/log")
    if any((folder / name).exists() for name in (CERTIFICATE_FILE, LOG_FILE, INDEX_FILE, PUBLIC_FILE)):
        raise AlreadyExists("The folder holds keys already")
    certificate, log = Ed25519PrivateKey.generate(), Ed25519PrivateKey.generate()
    keys = Keys(_pair(origin + CERTIFICATES, certificate), _pair(origin, log), bytes.fromhex(token_hex(32)))
    _make_folder(folder)
    _write(folder / CERTIFICATE_FILE, _pem(certificate), mode=0o600)
    _write(folder / LOG_FILE, _pem(log), mode=0o600)
    _write(folder / INDEX_FILE, keys.index_key.hex() + "\n", mode=0o600)
    _write(folder / PUBLIC_FILE, keys.trust, mode=0o644)
    return keys


def load(folder: Path) -> Keys:
    """Read the keys that `new` made, and refuse a folder whose parts do not belong together or lie open."""
    names = [line.partition("+")[0] for line in _read(folder / PUBLIC_FILE).splitlines()]
    if len(names) != 2:
        raise UnusableKeys(f"{PUBLIC_FILE} must hold two keys, one per line")
    certificate, log = _private(folder / CERTIFICATE_FILE), _private(folder / LOG_FILE)
    keys = Keys(_pair(names[0], certificate), _pair(names[1], log), _index_key(folder / INDEX_FILE))
    if keys.trust != _read(folder / PUBLIC_FILE) or names[0] != names[1] + CERTIFICATES:
        raise UnusableKeys(f"{PUBLIC_FILE} does not belong to the private keys beside it")
    return keys


def trust(folder: Path) -> str:
    """The text of `expunge.pub`, for a process that has no business with the private keys."""
    return _read(folder / PUBLIC_FILE)


def index_key(folder: Path) -> bytes:
    """The key of the index's pseudonyms alone."""
    return _index_key(folder / INDEX_FILE)


def _pair(name: str, private: Ed25519PrivateKey) -> Pair:
    vkey = Vkey(name, private.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw))
    return Pair(vkey, CryptoSigner(private, SSlibKey.from_crypto(private.public_key(), vkey.label)))


def _pem(private: Ed25519PrivateKey) -> str:
    return private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError:
        raise UnusableKeys("The folder of the keys cannot be made") from None


def _write(path: Path, content: str, *, mode: int) -> None:
    # O_EXCL: nobody, not even a second `keys new` at the same moment, overwrites a key.
    try:
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "w") as file:
            file.write(content)
    except OSError:
        raise UnusableKeys(f"{path.name} cannot be made") from None


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


def _index_key(path: Path) -> bytes:
    digits = _read_secret(path).strip()
    try:
        key = bytes.fromhex(digits)
    except ValueError:
        key = b""
    if len(key) != 32:
        raise UnusableKeys(f"{path.name} must be 64 hex digits")
    return key
