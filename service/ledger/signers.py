"""Named keys that can sign: with a private key in memory, or with one that its KMS or HSM never gives away."""

# The signers of securesystemslib are public by its documents, not by an __all__.
# pyright: reportPrivateImportUsage=false

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from urllib.parse import parse_qs, urlsplit

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    load_der_public_key,
    load_pem_public_key,
)
from securesystemslib.exceptions import UnsupportedAlgorithmError, UnsupportedLibraryError
from securesystemslib.signer import (
    AWSSigner,
    AzureSigner,
    CryptoSigner,
    GCPSigner,
    HSMSigner,
    Signer,
    SSlibKey,
    VaultSigner,
)

from service.errors import ExpungeError, Unavailable, UnusableKeys
from service.ledger.checkpoints import ECDSA_P256, ED25519, Vkey
from service.ledger.untrusted import RefusedError

Secrets = Callable[[str], str]      # name of a secret (`pin`) → the secret
Named = tuple[str, SSlibKey]
_TRIAL = b"Expunge asks whether this key signs; neither a checkpoint nor an envelope begins like this.\n"


@dataclass(frozen=True, slots=True)
class Pair:
    """A named key that can sign; only its public half is ever shown."""

    vkey: Vkey
    signer: Signer = field(repr=False)

    def sign(self, message: bytes) -> bytes:
        """The signature, checked before anybody sees it.

        Raises:
            Unavailable: the KMS or HSM did not sign.
            UnusableKeys: it signed with another key, as an alias that was moved does.
        """
        try:
            signature = bytes.fromhex(self.signer.sign(message).signature)
        except Exception as error:  # every KMS has its own, and their texts name the key
            raise Unavailable(f"The signer of {self.vkey.label} did not sign: {type(error).__name__}") from None
        try:
            self.vkey.check(signature, message)
        except RefusedError:
            raise UnusableKeys(f"The signer of {self.vkey.label} has signed with another key") from None
        return signature


def local(name: str, private: Ed25519PrivateKey) -> Pair:
    """A pair whose private key is in memory."""
    vkey = Vkey(name, private.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw))
    return Pair(vkey, CryptoSigner(private, _public(vkey)))


def remote(uri: str, vkey: Vkey, secrets: Secrets) -> Pair:
    """A pair whose private key is where the URI says; nobody is asked before it signs.

    Raises:
        UnusableKeys: the URI is of no kind that we know, or its library is not installed.
    """
    _scheme(uri)
    # The library logs the ids of keys, and the errors of their servers, as errors of its own.
    logging.getLogger("securesystemslib").setLevel(logging.CRITICAL)
    try:
        return Pair(vkey, Signer.from_priv_key_uri(uri, _public(vkey), secrets))
    except Exception as error:
        raise _refusal(error) from None


def take(uri: str, name: str, secrets: Secrets) -> tuple[str, Pair]:
    """The key at a URI under a name of ours, tried once; and its URI in full, with the key's version.

    Raises:
        Unavailable: the KMS or HSM does not answer, or refuses.
        UnusableKeys: there is no such kind of URI, its library is not installed, or the key is of another kind.
    """
    fetch = IMPORTS[_scheme(uri)]
    logging.getLogger("securesystemslib").setLevel(logging.CRITICAL)
    try:
        full, public = fetch(uri, secrets)
        vkey = _vkey(name, public)
    except Exception as error:
        raise _refusal(error) from None
    if not full.startswith(uri):
        raise UnusableKeys("The signer's URI names an older version of its key; name the newest, or none")
    pair = remote(full, vkey, secrets)
    pair.sign(_TRIAL)
    return full, pair


# ---- kinds of URIs --------------------------------------------------------------------------------------------------


def _aws(uri: str, _: Secrets) -> Named:
    return AWSSigner.import_(urlsplit(uri).path)


def _gcp(uri: str, _: Secrets) -> Named:
    return GCPSigner.import_(urlsplit(uri).path)


def _azure(uri: str, _: Secrets) -> Named:
    parts = urlsplit(uri)
    return AzureSigner.import_(parts.netloc.partition(".")[0], parts.path.split("/")[2])


def _hsm(uri: str, secrets: Secrets) -> Named:
    parts = urlsplit(uri)
    label = parse_qs(parts.query).get("label", [None])[0]
    _, public = HSMSigner.import_(int(parts.path) if parts.path else None, label, secrets)
    return uri, public


def _vault(uri: str, _: Secrets) -> Named:
    return VaultSigner.import_(urlsplit(uri).path.partition("/")[0])


IMPORTS: Mapping[str, Callable[[str, Secrets], Named]] = {
    "awskms": _aws, "gcpkms": _gcp, "azurekms": _azure, "hsm": _hsm, "hv": _vault,
}


def _scheme(uri: str) -> str:
    scheme, colon, _ = uri.partition(":")
    if not colon or scheme not in IMPORTS or not uri.isprintable():
        raise UnusableKeys(f"The signer's URI must begin with one of {', '.join(f'{each}:' for each in IMPORTS)}")
    return scheme


def _vkey(name: str, public: SSlibKey) -> Vkey:
    material = public.keyval["public"]
    match public.scheme:
        case "ed25519":
            return Vkey(name, bytes.fromhex(material), type=ED25519)
        case "ecdsa-sha2-nistp256":
            spki = load_pem_public_key(material.encode()).public_bytes(
                Encoding.DER, PublicFormat.SubjectPublicKeyInfo
            )
            return Vkey(name, spki, type=ECDSA_P256)
        case _:
            raise UnsupportedAlgorithmError


def _public(vkey: Vkey) -> SSlibKey:
    """The same key as the library names it; signatures bear our label."""
    ed25519 = vkey.type == ED25519
    key = Ed25519PublicKey.from_public_bytes(vkey.public) if ed25519 else load_der_public_key(vkey.public)
    return SSlibKey.from_crypto(key, vkey.label)


def _refusal(error: Exception) -> ExpungeError:
    if isinstance(error, ExpungeError):
        return error
    if isinstance(error, UnsupportedLibraryError):
        return UnusableKeys("The signer's URI needs a library that is not installed: an extra of securesystemslib")
    if isinstance(error, UnsupportedAlgorithmError):
        return UnusableKeys("The signer's key must be ECDSA P-256 or Ed25519")
    if isinstance(error, ValueError | LookupError):
        return UnusableKeys("The signer's URI names no key that can be used")
    return Unavailable(f"The signer's key cannot be had: {type(error).__name__}")
