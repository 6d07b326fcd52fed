"""DSSE envelopes: a statement and its signatures, as the bytes that are stored and never written anew."""

from base64 import b64encode

import rfc8785
from securesystemslib.dsse import Envelope

from service.domain.certificates import PAYLOAD_TYPE
from service.ledger.signers import Pair
from service.ledger.untrusted import field, read_json, unbase64


def seal(statement: bytes, pair: Pair, *others: Pair) -> bytes:
    """Sign a statement with each key; the key ids in the envelope name the keys as `expunge.pub` does."""
    encoded = Envelope(statement, PAYLOAD_TYPE, {}).pae()
    signatures = [{"keyid": each.vkey.label, "sig": _base64(each.sign(encoded))} for each in (pair, *others)]
    return rfc8785.dumps({"payload": _base64(statement), "payloadType": PAYLOAD_TYPE, "signatures": signatures})


def payload(envelope: bytes) -> bytes:
    """The statement in an envelope, unverified."""
    return unbase64(field(read_json(envelope), "payload", str))


def _base64(data: bytes) -> str:
    return b64encode(data).decode()
