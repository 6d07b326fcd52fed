"""DSSE envelopes: a statement and its signature, as the bytes that are stored and never written anew."""

from base64 import b64encode

import rfc8785
from securesystemslib.dsse import Envelope

from service.domain.certificates import PAYLOAD_TYPE
from service.ledger.keys import Pair
from service.ledger.untrusted import field, read_json, unbase64


def seal(statement: bytes, pair: Pair) -> bytes:
    """Sign a statement; the key id in the envelope names the key as `expunge.pub` does."""
    signed = Envelope(statement, PAYLOAD_TYPE, {}).sign(pair.signer)
    signature = {"keyid": signed.keyid, "sig": _base64(bytes.fromhex(signed.signature))}
    return rfc8785.dumps({"payload": _base64(statement), "payloadType": PAYLOAD_TYPE, "signatures": [signature]})


def payload(envelope: bytes) -> bytes:
    """The statement in an envelope, unverified."""
    return unbase64(field(read_json(envelope), "payload", str))


def _base64(data: bytes) -> str:
    return b64encode(data).decode()
