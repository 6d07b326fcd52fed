"""A person's receipt: that one sample was in a request, shown to whoever has the bundle. Part of the offline verifier.

    1. secret and sample id       give the reference            SHA-256(secret ‖ "sample" ‖ 0x00 ‖ sample id)
    2. opening and reference      give the commitment           SHA-256(opening ‖ reference)
    3. commitment and path        lead to the forget root       RFC 6962, `size` leaves
    4. the forget root            is the one in the certificate

Both hashes bind, so nobody can show another sample; of the others in the request nothing but their number is told.
"""

from collections.abc import Iterable

from service.domain import commitments, merkle
from service.ledger.schema import DIGEST, ID, SOME, Each, Shape, require
from service.ledger.untrusted import RefusedError, at, field, items

SCHEMA = "https://expunge.example/receipt/v1"
HOW = (
    "reference = SHA-256(secret, 'sample', 0x00, sample); commitment = SHA-256(opening, reference); its leaf hash and "
    "the path lead to forget_root (RFC 6962), which the certificate names. expunge verify-receipt RECEIPT BUNDLE"
)
_SHAPE: Shape = {
    "schema": frozenset({SCHEMA}), "request_id": ID, "certificate_id": ID, "sample": ".{1,256}", "secret": DIGEST,
    "opening": DIGEST, "index": range(2**53), "size": SOME, "path": Each(DIGEST), "forget_root": DIGEST,
}


def make(
    index_key: bytes, salt: bytes, known: Iterable[bytes], *, sample: str, root: bytes, request_id: str,
    certificate_id: str,
) -> dict[str, object]:
    """The receipt of one sample.

    Args:
        known: the commitments of the request, and `root` theirs.
    Raises:
        ValueError: the sample is not among them.
    """
    secret = commitments.secret(index_key, "sample", sample)
    ref = commitments.reference_of(secret, "sample", sample)
    opening = commitments.opening(salt, ref)
    index, size, path = commitments.proof(known, commitments.commitment_of(opening, ref))
    return {
        "schema": SCHEMA, "request_id": request_id, "certificate_id": certificate_id, "sample": sample,
        "secret": secret.hex(), "opening": opening.hex(), "index": index, "size": size,
        "path": [each.hex() for each in path], "forget_root": root.hex(), "how": HOW,
    }


def check(receipt: object, certificate: object) -> str:
    """Refuses a receipt that does not lead into this certificate; the sentence repeats no sample id.

    Args:
        certificate: its statement, which was checked before.
    """
    require(receipt, _SHAPE, "receipt")
    ids = {at(certificate, "predicate.request.certificate_id"), at(certificate, "predicate.supersedes")}
    same = at(receipt, "request_id") == at(certificate, "predicate.request.request_id")
    if not same or at(receipt, "certificate_id") not in ids:
        raise RefusedError("the receipt is of another request or certificate")
    named = field(certificate, "predicate.request.forget_root", str)
    if field(receipt, "forget_root", str) != named or not _leads_to(bytes.fromhex(named), receipt):
        raise RefusedError("the receipt does not lead to the certificate's forget root")
    if field(receipt, "size", int) != field(certificate, "predicate.request.n_samples", int):
        raise RefusedError("the receipt is of a set of another size")
    return f"the sample is one of the {field(receipt, 'size', int)} of the request"


def _leads_to(root: bytes, receipt: object) -> bool:
    sample, secret, opening = (field(receipt, name, str) for name in ("sample", "secret", "opening"))
    ref = commitments.reference_of(bytes.fromhex(secret), "sample", sample)  # 1
    leaf = merkle.leaf_hash(commitments.commitment_of(bytes.fromhex(opening), ref))  # 2
    path = [bytes.fromhex(each) for each in items(receipt, "path") if isinstance(each, str)]
    index, size = field(receipt, "index", int), field(receipt, "size", int)
    return merkle.verify_inclusion(index, size, path, leaf=leaf, root=root)  # 3, 4
