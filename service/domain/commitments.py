"""What the index and the ledger know of a person: keyed references and salted commitments. Our own construction.

    reference  = HMAC-SHA256(index key, kind ‖ 0x00 ‖ identifier)     the index stores only these
    commitment = HMAC-SHA256(salt, reference)                         a fresh random salt per request
    forget root = RFC 6962 root over the sorted commitments           the certificate carries only this

Deleting the salt makes the root unlinkable to anybody; who holds the salt can show that a reference was in the set.
"""

import hmac
from collections.abc import Iterable
from secrets import token_bytes
from typing import Literal

from service.domain import merkle

SALT_BYTES = 32


def reference(index_key: bytes, kind: Literal["sample", "subject"], identifier: str) -> bytes:
    """The pseudonym of a sample or a person; without the key it cannot be guessed from the identifier."""
    return hmac.digest(index_key, kind.encode() + b"\0" + identifier.encode(), "sha256")


def new_salt() -> bytes:
    """A salt for one request."""
    return token_bytes(SALT_BYTES)


def commitment(salt: bytes, ref: bytes) -> bytes:
    """What a reference looks like in one request; two requests of one person share nothing."""
    return hmac.digest(salt, ref, "sha256")


def forget_root(salt: bytes, refs: Iterable[bytes]) -> bytes:
    """Commits to a set of references: neither order nor repetition matters, and nothing can be read from it."""
    return merkle.root(map(merkle.leaf_hash, _commitments(salt, refs)))


def forget_proof(salt: bytes, refs: Iterable[bytes], ref: bytes) -> tuple[int, int, list[bytes]]:
    """(index, size, path) that shows one reference in the forget root, for `merkle.verify_inclusion`."""
    commitments = _commitments(salt, refs)
    leaves = [merkle.leaf_hash(each) for each in commitments]
    index = commitments.index(commitment(salt, ref))

    def hash_of(tree: merkle.Subtree) -> bytes:
        level, position = tree
        return merkle.root(leaves[position << level : (position + 1) << level])

    return index, len(leaves), merkle.inclusion(index, len(leaves), hash_of)


def _commitments(salt: bytes, refs: Iterable[bytes]) -> list[bytes]:
    return sorted({commitment(salt, ref) for ref in refs})
