"""What the index and the ledger know of a person: keyed references and salted commitments. Our own construction.

    secret     = HMAC-SHA256(index key, kind ‖ 0x00 ‖ identifier)
    reference  = SHA-256(secret ‖ kind ‖ 0x00 ‖ identifier)           the index stores only these
    opening    = HMAC-SHA256(salt, reference)                         a fresh random salt per request
    commitment = SHA-256(opening ‖ reference)
    forget root = RFC 6962 root over the sorted commitments           the certificate carries only this

Without the index key a reference cannot be guessed from an identifier; deleting the salt makes the root unlinkable to
anybody. Secret and opening of one sample, told to its person, show to everybody that just this identifier was in the
set (both hashes bind), and say nothing of any other sample. Standard library only: part of the offline verifier.
"""

import hmac
from collections.abc import Iterable, Sequence
from hashlib import sha256
from secrets import token_bytes
from typing import Literal

from service.domain import merkle

SALT_BYTES = 32
Kind = Literal["sample", "subject"]


def secret(index_key: bytes, kind: Kind, identifier: str) -> bytes:
    """What shows that a reference is that of an identifier; for its person alone."""
    return hmac.digest(index_key, _named(kind, identifier), "sha256")


def reference_of(secret: bytes, kind: Kind, identifier: str) -> bytes:
    """The reference, from its secret."""
    return sha256(secret + _named(kind, identifier)).digest()


def reference(index_key: bytes, kind: Kind, identifier: str) -> bytes:
    """The pseudonym of a sample or a person; without the key it cannot be guessed from the identifier."""
    return reference_of(secret(index_key, kind, identifier), kind, identifier)


def _named(kind: Kind, identifier: str) -> bytes:
    return kind.encode() + b"\0" + identifier.encode()


def new_salt() -> bytes:
    """A salt for one request."""
    return token_bytes(SALT_BYTES)


def opening(salt: bytes, ref: bytes) -> bytes:
    """What shows that a commitment is that of a reference; it tells nothing of the salt."""
    return hmac.digest(salt, ref, "sha256")


def commitment_of(opening: bytes, ref: bytes) -> bytes:
    """The commitment, from its opening."""
    return sha256(opening + ref).digest()


def commitment(salt: bytes, ref: bytes) -> bytes:
    """What a reference looks like in one request; two requests of one person share nothing."""
    return commitment_of(opening(salt, ref), ref)


def root(commitments: Iterable[bytes]) -> bytes:
    """Commits to a set: neither order nor repetition matters, and nothing can be read from it."""
    return merkle.root(map(merkle.leaf_hash, sorted(set(commitments))))


def proof(commitments: Iterable[bytes], wanted: bytes) -> tuple[int, int, list[bytes]]:
    """(index, size, path) that shows one commitment in the root, for `merkle.verify_inclusion`.

    Raises:
        ValueError: it is not among them.
    """
    ordered: Sequence[bytes] = sorted(set(commitments))
    leaves = [merkle.leaf_hash(each) for each in ordered]
    index = ordered.index(wanted)

    def hash_of(tree: merkle.Subtree) -> bytes:
        level, position = tree
        return merkle.root(leaves[position << level : (position + 1) << level])

    return index, len(leaves), merkle.inclusion(index, len(leaves), hash_of)
