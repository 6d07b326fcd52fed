"""The offline verifier against bytes that somebody spoiled, or that never were a bundle."""

import io
import json
import os
import zipfile
from base64 import b64decode, b64encode
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.domain.certificates import canonical
from service.ledger import verify
from service.ledger.case import MEMBERS
from service.ledger.envelopes import seal
from service.ledger.untrusted import JSON_DEPTH, RefusedError, pack, read_json, span_of, unpack
from tests.service.ledger_fixture import SIZE, statement


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


@pytest.mark.parametrize("member", sorted(MEMBERS.keys() - {"README.txt"}))
@pytest.mark.parametrize("content", [b"", b"\xff", b"\0", b"[" * 50_000, b"\n" * 50_000, "— ".encode() * 9_000])
def test_a_member_of_nonsense_is_refused(check, log, member, content):
    assert check(with_member(log.bundle(), member, content))[0] is not None


@pytest.mark.parametrize("trust", ["", "nonsense", "a+b+c", "\n\n", "x+00000000+AQ=="])
def test_a_key_file_without_keys_is_refused(check, log, trust):
    assert check(log.bundle(), trust=trust)[0] == 0


def test_a_key_file_with_one_kind_of_key_is_refused(check, log):
    assert check(log.bundle(), trust=str(log.keys.log.vkey))[0] == 0
    assert check(log.bundle(), trust=str(log.keys.certificate.vkey))[0] == 0


def test_a_bundle_that_was_cut_is_refused_at_step_0_wherever_it_was_cut(check, log):
    data = log.bundle()

    assert {check(data[:length])[0] for length in range(0, len(data), 37)} == {0}


# ---- JSON that readers disagree about -------------------------------------------------------------------------------

DEEP = [b"[" * 10_000, b'{"a":' * 10_000, b"[" * 10_000 + b"]" * 10_000, b'[{"a":' * 5_000 + b"0" + b"}]" * 5_000]
JSON_MEMBERS = {"statement.json": 2, "envelope.json": 1, "keys.json": 5, "later.json": 9}


@pytest.mark.parametrize("member", JSON_MEMBERS)
@pytest.mark.parametrize("content", DEEP, ids=range(4))
def test_deeply_nested_json_is_refused_in_every_member(check, log, member, content):
    assert check(with_member(log.bundle(), member, content))[0] == JSON_MEMBERS[member]


@pytest.mark.parametrize("content", DEEP, ids=range(4))
def test_a_deeply_nested_statement_is_refused_even_when_it_is_signed(check, log, content):
    signed = replace(log, envelope=seal(content, log.keys.certificate))

    assert check(signed.bundle()) == (2, "a JSON file is too deep")
    assert check(replace(log, others={7: signed.envelope}).bundle())[0] == 9


@pytest.mark.parametrize("depth", [1, JSON_DEPTH])
def test_json_may_be_as_deep_as_is_said(depth):
    written = b"[" * depth + b"]" * depth

    assert json.dumps(read_json(written)).encode() == written


ODD = [
    b"9007199254740992", b"-9007199254740992", b"1" * 4_000, b"1" * 5_000, b"1e400", b"-1e400", b"NaN", b"Infinity",
    b"-Infinity", b'"\\ud800"', b'"\\udfff\\ud800"', b'{"a":1,"a":1}', b'{"\\ud800":1}', b'"\xed\xa0\x80"', b'"\n"',
    b"\xef\xbb\xbf1", b"1 2", b"01", b"'a'", b"[1,]", b"\xff", b"",
]  # fmt: skip


@pytest.mark.parametrize("odd", ODD, ids=lambda odd: repr(odd[:24]))
def test_json_that_readers_disagree_about_is_refused(check, log, odd):
    with pytest.raises(RefusedError):
        read_json(odd)
    with pytest.raises(RefusedError):
        read_json(b'{"a":[' + odd + b"]}" if odd else odd)
    spoiled = statement().replace(b'"threads":1', b'"threads":1,"odd":' + odd)
    assert spoiled != statement()
    assert check(replace(log, envelope=seal(spoiled, log.keys.certificate)).bundle())[0] == 2


@given(st.recursive(st.none() | st.booleans() | st.text() | st.integers(1 - 2**53, 2**53 - 1), st.lists))
def test_other_json_is_read_as_it_was_written(value):
    assert read_json(json.dumps(value).encode()) == value


def test_hostile_strings_and_brackets_are_no_brackets(check):
    assert read_json(json.dumps({"]}{[": '"\\"[[' * 99}).encode())


@given(st.recursive(st.text(max_size=3) | st.floats(0, 1) | st.integers(0, 9), lambda each: st.lists(each, max_size=3)
       | st.dictionaries(st.text(max_size=3), each, max_size=3), max_leaves=9), st.text(max_size=3))
def test_the_span_of_a_value_is_its_canonical_text(value, name):
    document = {"policy": {"before": [value], "here": value, "zz": {name: value}}, "a": value}

    assert span_of(canonical(document).decode(), "policy.here").encode() == canonical(value)


ABSENT = ["", "{}", "[]", "1", '{"a":', '{"a":{', '{"a":{}}', '{ "a":{"b":1}}', '{"b":{"a":1}}']


@pytest.mark.parametrize("written", ABSENT)
def test_a_value_that_is_not_there_has_no_span(written):
    with pytest.raises(RefusedError):
        span_of(written, "a.b")


def test_a_policy_that_is_not_the_one_of_the_digest_is_refused(check, log):
    def soften(read):
        read["predicate"]["verdict"]["policy"]["audit"]["margin"] = 0.5

    signed = replace(log, envelope=seal(statement(soften), log.keys.certificate))

    assert check(signed.bundle()) == (2, "predicate.verdict.policy is not the policy of that digest")


# ---- files that are none --------------------------------------------------------------------------------------------


@pytest.fixture
def arguments(tmp_path, log):
    """What `expunge verify` is given when all is well."""
    contents = {
        "bundle": log.bundle(), "--key": log.keys.trust, "--checkpoint": log.checkpoint(7),
        "--consistency": log.consistency(7, SIZE), "--weights": "weights", "--receipt": "{}",
    }  # fmt: skip
    for name, content in contents.items():
        (tmp_path / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    return {name: str(tmp_path / name) for name in contents}


def exit_code(arguments):
    bundle, *named = arguments.values()
    return verify.main([bundle, *(part for pair in zip([*arguments][1:], named, strict=True) for part in pair)])


def odd_path(tmp_path, kind):
    match kind:
        case "pipe":
            os.mkfifo(tmp_path / "pipe")
            return str(tmp_path / "pipe")
        case "link to nothing":
            (tmp_path / "link").symlink_to("nowhere")
            return str(tmp_path / "link")
        case _:
            return kind


ODD_PATHS = ["pipe", "link to nothing", "/", "/dev/zero", "/proc/self/mem", "a\0b", ""]


@pytest.mark.parametrize("kind", ODD_PATHS)
@pytest.mark.parametrize("name", ["bundle", "--key", "--checkpoint", "--consistency", "--weights", "--receipt"])
def test_a_path_that_is_no_readable_file_is_refused_and_nothing_waits(arguments, tmp_path, capsys, name, kind):
    code = exit_code({**arguments, name: odd_path(tmp_path, kind)})

    assert code == (18 if name == "--weights" else 10)
    assert "NOT VALID" in capsys.readouterr().out


@pytest.mark.parametrize("name", ["bundle", "--key", "--checkpoint", "--consistency", "--receipt"])
@pytest.mark.parametrize("start", [b"", b"PK\3\4", b"{", b"\n"])
def test_100_mb_of_nonsense_are_refused(arguments, tmp_path, name, start):
    with (tmp_path / "nonsense").open("wb") as file:
        file.write(start + os.urandom(2**16))
        file.truncate(100 * 10**6)

    assert exit_code({**arguments, name: str(tmp_path / "nonsense")}) == 10


@pytest.mark.slow
def test_100_mb_in_the_members_that_may_be_large_are_refused(check, log):
    members = unpack(log.bundle(), MEMBERS)

    assert check(pack(members | dict.fromkeys(["report.json", "report.pdf"], bytes(50 * 10**6))))[0] == 7
    assert check(pack(members | {"later.json": b"[" * 10**8}))[0] == 0
