"""No leaf of a bundle's JSON, and no line of its texts, can be another unseen – also when somebody signs it anew."""

import json
from base64 import b64decode, b64encode
from dataclasses import replace

import pytest

from service.ledger import keys
from service.ledger.case import MEMBERS
from service.ledger.envelopes import seal
from service.ledger.untrusted import pack, unpack
from tests.service.ledger_fixture import INDEX, ORIGIN, SIZE, statement


def leaves(value, path=()):
    """The path of every value of a JSON document, objects and lists included."""
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [path] + [found for name, each in inner for found in leaves(each, (*path, name))]


def mutants(value):
    """What somebody could write in the place of a value."""
    match value:
        case bool():
            return [not value, None, int(value)]
        case str():
            return [value + "x", value[:-1], value.swapcase(), "", None, 7, [value]]
        case int() | float():
            return [value + 1, -value - 1, str(value), None, True]
        case None:
            return [0, "", False, [], {}]
        case list():
            return [value[::-1], value[1:], [*value, *value[:1]], [*value, None], {}, None]
        case dict():
            first = next(iter(value), None)
            less = {name: each for name, each in value.items() if name != first}
            return [value | {"addition": 1}, less, {}, [], None]
    raise AssertionError


def put(document, path, value):
    """The same document with another value in one place."""
    if not path:
        return value
    name, *rest = path
    inner = put(document[name], rest, value)
    if isinstance(document, dict):
        return document | {name: inner}
    return [*document[:name], inner, *document[name + 1 :]]


def at(document, path):
    for name in path:
        document = document[name]
    return document


def mutations(document):
    """(where, the whole document with one change) of every change that says something else."""
    for path in leaves(document):
        value = at(document, path)
        for other in mutants(value):
            if json.dumps(other, sort_keys=True) != json.dumps(value, sort_keys=True):
                yield f"{path}: {other!r:.60}", put(document, path, other)


def dumped(document):
    return json.dumps(document, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


@pytest.fixture
def bundle_with(log):
    """The bundle with some of its members replaced."""
    members = unpack(log.bundle(), MEMBERS)
    return lambda **changed: pack({name: changed.get(name.partition(".")[0], data) for name, data in members.items()})


def passing(check, bundles):
    """Which of the bundles the verifier lets through."""
    return [where for where, data in bundles if check(data)[0] is None]


def test_no_part_of_the_statement_can_be_another_under_the_same_signature(check, log, bundle_with):
    read, envelope = json.loads(statement()), json.loads(log.envelope)
    spoiled = [
        (where, bundle_with(
            statement=dumped(each), envelope=dumped(envelope | {"payload": b64encode(dumped(each)).decode()})
        ))
        for where, each in mutations(read)
    ]  # fmt: skip

    assert len(spoiled) > 500
    assert passing(check, spoiled) == []


def test_no_part_of_the_readable_copy_can_be_another(check, bundle_with):
    spoiled = [(where, bundle_with(statement=dumped(each))) for where, each in mutations(json.loads(statement()))]

    assert passing(check, spoiled) == []


@pytest.mark.parametrize("member", ["envelope.json", "keys.json"])
def test_no_part_of_envelope_or_keys_can_be_another(check, log, bundle_with, member):
    read = json.loads(unpack(log.bundle(), MEMBERS)[member])
    spoiled = [(where, bundle_with(**{member.partition(".")[0]: dumped(each)})) for where, each in mutations(read)]

    assert passing(check, spoiled) == []


def test_no_part_of_the_later_entries_can_be_another_but_one_may_be_left_out(check, log, bundle_with):
    """A bundle cannot know what it was not told: an entry less is a bundle that was made earlier."""
    told = json.loads(unpack(log.bundle(), MEMBERS)["later.json"])
    fewer = [dumped({"entries": told["entries"][n:]}) for n in range(4)]
    spoiled = [(where, bundle_with(later=dumped(each))) for where, each in mutations(told) if dumped(each) not in fewer]

    assert len(spoiled) > 50
    assert passing(check, spoiled) == []


def test_a_statement_that_an_attacker_signed_is_refused_whatever_it_says(check, log, tmp_path):
    stranger = keys.new(tmp_path / "stranger", ORIGIN)
    forged = replace(log, keys=stranger, envelope=seal(statement(), stranger.certificate))

    assert check(forged.bundle(), trust=log.keys.trust)[0] == 1


def test_no_line_of_proof_or_checkpoint_can_be_another(check, log, bundle_with):
    spoiled = []
    for name, text in (("proof", log.proof()), ("checkpoint", log.checkpoint())):
        lines = text.splitlines(keepends=True)
        for number, line in enumerate(lines):
            for other in ("", line * 2, line[:-2] + "\n", line.swapcase(), "x" + line, line[::-1], "\n" + line):
                if other != line:
                    mutant = "".join([*lines[:number], other, *lines[number + 1 :]])
                    spoiled.append((f"{name} {number}: {other!r}", bundle_with(**{name: mutant.encode()})))
        spoiled += [(f"{name} {cut}", bundle_with(**{name: text.encode()[:cut]})) for cut in range(len(text.encode()))]

    assert passing(check, spoiled) == []


def test_no_hash_of_the_proof_can_be_another(check, log, bundle_with):
    lines = log.proof().splitlines()
    hashes = [number for number, line in enumerate(lines) if len(line) == 44 and line.endswith("=")]
    assert len(hashes) == 5     # four on the path, and the checkpoint's root; the leaf is in the extra line

    for number in hashes:
        for bit in range(0, 256, 17):
            spoiled = bytearray(b64decode(lines[number]))
            spoiled[bit // 8] ^= 1 << bit % 8
            proof = "\n".join([*lines[:number], b64encode(spoiled).decode(), *lines[number + 1 :], ""])
            assert check(bundle_with(proof=proof.encode()))[0] in (4, 5)


def test_no_other_index_fits_the_proof(check, log, bundle_with):
    others = [number for number in range(2 * SIZE) if number != INDEX]

    spoiled = [
        (str(each), bundle_with(proof=log.proof().replace(f"index {INDEX}\n", f"index {each}\n").encode()))
        for each in others
    ]

    assert passing(check, spoiled) == []


@pytest.mark.parametrize("member", ["report.json", "report.pdf", "recipe-report.json"])
def test_no_byte_of_a_report_can_be_another(check, log, member):
    members = unpack(log.bundle(), MEMBERS)
    content = members[member]
    others = [content[:n] + bytes([content[n] ^ 1]) + content[n + 1 :] for n in range(len(content))]

    for other in [*others, b"", content + b"\0", content[:-1]]:
        assert check(pack(members | {member: other}))[0] == 7


def test_reports_cannot_change_places(check, log):
    members = unpack(log.bundle(), MEMBERS)
    swapped = members | {"report.json": members["recipe-report.json"], "recipe-report.json": members["report.json"]}

    assert check(pack(swapped))[0] == 7


@pytest.mark.parametrize("member", sorted(MEMBERS.keys() - {"README.txt", "later.json"}))
def test_no_member_can_be_left_out(check, log, member):
    members = unpack(log.bundle(), MEMBERS)

    number, _ = check(pack({name: data for name, data in members.items() if name != member}))

    assert (number is None) == (member in {"report.pdf", "recipe-report.json"})
