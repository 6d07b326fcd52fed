"""The offline verifier against bytes that somebody spoiled, or that never were a bundle."""

import io
import json
import os
import zipfile
from base64 import b64decode, b64encode

import pytest

from service.ledger.case import MEMBERS
from service.ledger.untrusted import RefusedError, pack, unpack


def test_no_byte_of_a_bundle_can_be_flipped_unseen(log):
    data = log.bundle()

    for at in range(len(data)):
        with pytest.raises(RefusedError):
            unpack(flipped(data, at), MEMBERS)


def flipped(data, at):
    return data[:at] + bytes([data[at] ^ (1 << at % 8)]) + data[at + 1 :]


@pytest.mark.parametrize("member", sorted(MEMBERS.keys() - {"README.txt"}))
def test_no_byte_of_a_member_can_be_changed_unseen_even_with_the_archive_made_anew(check, log, member):
    data = log.bundle()
    content = unpack(data, MEMBERS)[member]
    places = range(0, len(content), 1 + len(content) // 150)

    passed = [at for at in places if check(with_member(data, member, flipped(content, at)))[0] is None]

    assert [content[max(0, at - 20) : at + 20] for at in passed] == []


def with_member(data, member, content):
    return pack({**unpack(data, MEMBERS), member: content})


def test_no_field_of_the_envelope_can_be_changed_unseen(check, log):
    envelope = json.loads(log.envelope)
    signature = envelope["signatures"][0]
    spoiled = [
        envelope | {"payloadType": envelope["payloadType"] + " "},
        envelope | {"signatures": []},
        envelope | {"signatures": [signature | {"keyid": ""}]},
        envelope | {"signatures": [signature | {"sig": b64encode(bytes(64)).decode()}]},
        envelope | {"signatures": [signature, signature | {"sig": b64encode(bytes(64)).decode()}]},
        envelope | {"extra": 1},
    ]

    failed = [check(with_member(log.bundle(), "envelope.json", json.dumps(each).encode()))[0] for each in spoiled]

    assert failed == [1, 1, 1, 1, 1, 3]


def test_spare_bits_of_base64_are_refused(check, log):
    lines = log.proof().splitlines()
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
    hidden = lines[3][:42] + alphabet[alphabet.index(lines[3][42]) ^ 1] + "="
    assert b64decode(hidden) == b64decode(lines[3])

    assert check(with_member(log.bundle(), "proof.tlog-proof", log.proof().replace(lines[3], hidden).encode()))[0] == 3


# ---- nonsense -------------------------------------------------------------------------------------------------------


def zipped(members, compression=zipfile.ZIP_STORED):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", compression) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return buffer.getvalue()


NONSENSE = {
    "nothing": b"",
    "text": b"hello",
    "noise": os.urandom(5_000),
    "half a header": b"PK\3\4" + b"\xff" * 10,
    "a header of huge sizes": b"PK\3\4" + b"\xff" * 26 + b"README.txt",
    "empty zip": zipped({}),
    "empty bundle": pack({}),
    "one member": pack({"README.txt": b""}),
    "path traversal": pack({"../../etc/passwd": b"x"}),
    "bomb": zipped(dict.fromkeys(MEMBERS, bytes(10**7)), zipfile.ZIP_DEFLATED),
    "many members": zipped({str(number): b"" for number in range(10_000)}),
    "large text": pack(dict.fromkeys(MEMBERS, b" " * 100000)),
    "empty members": pack(dict.fromkeys(MEMBERS, b"")),
    "deep JSON": pack(dict.fromkeys(MEMBERS, b"[" * 50_000)),
    "deep strings": pack(dict.fromkeys(MEMBERS, b'{"payload":"' + b"[" * 50_000 + b'"}')),
    "nulls": pack(dict.fromkeys(MEMBERS, b"null")),
    "twice": pack(dict.fromkeys(MEMBERS, b'{"payload":"","payload":""}')),
    "NaN": pack(dict.fromkeys(MEMBERS, b"NaN")),
    "long number": pack(dict.fromkeys(MEMBERS, b"1" * 50_000)),
    "UTF-16": pack(dict.fromkeys(MEMBERS, '{"payload":""}'.encode("utf-16"))),
}


@pytest.mark.parametrize("data", NONSENSE.values(), ids=NONSENSE.keys())
def test_nonsense_is_refused_at_the_first_steps(check, data):
    assert check(data)[0] in (0, 1)


@pytest.mark.parametrize("member", ["proof.tlog-proof", "checkpoint", "keys.json", "statement.json", "report.json"])
@pytest.mark.parametrize("content", [b"", b"\xff", b"\0", b"[" * 50_000, b"\n" * 50_000, "— ".encode() * 9_000])
def test_a_member_of_nonsense_is_refused(check, log, member, content):
    assert check(with_member(log.bundle(), member, content))[0] is not None


@pytest.mark.parametrize("trust", ["", "nonsense", "a+b+c", "\n\n", "x+00000000+AQ=="])
def test_a_key_file_without_keys_is_refused(check, log, trust):
    assert check(log.bundle(), trust=trust)[0] == 0


def test_a_key_file_with_one_kind_of_key_is_refused(check, log):
    assert check(log.bundle(), trust=str(log.keys.log.vkey))[0] == 0
    assert check(log.bundle(), trust=str(log.keys.certificate.vkey))[0] == 0
