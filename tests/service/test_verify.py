"""The offline verifier. Every bundle here is first shown to be valid, then spoiled in one way."""

import io
import json
import os
import subprocess
import sys
import zipfile
from base64 import b64decode, b64encode
from dataclasses import dataclass, replace
from hashlib import sha256
from uuid import UUID

import pytest

from service.domain import certificates, merkle
from service.ledger import bundle, checkpoints, keys, verify
from service.ledger.case import MEMBERS
from service.ledger.checkpoints import Proof
from service.ledger.envelopes import seal
from service.ledger.untrusted import RefusedError, pack, unpack
from tests.service.ledger_fixture import ORIGIN, REPORT, predicate, subjects

CERTIFICATE, REQUEST, INDEX, SIZE = UUID(int=1), UUID(int=2), 4, 11
PDF = b"%PDF-1.7 a report"
WITH_PDF = {"report.pdf": sha256(PDF).hexdigest()}


def tree(leaves):
    def hash_of(subtree):
        level, index = subtree
        return merkle.root(leaves[index << level : (index + 1) << level])

    return hash_of


@dataclass(frozen=True)
class Log:
    """A ledger in memory, in which one envelope is entry INDEX."""

    keys: keys.Keys
    envelope: bytes

    @property
    def leaves(self):
        others = [merkle.leaf_hash(b"entry %d" % number) for number in range(40)]
        return [*others[:INDEX], merkle.leaf_hash(self.envelope), *others[INDEX:]]

    def checkpoint(self, size=SIZE):
        log = self.keys.log
        return checkpoints.write(log.vkey, size, merkle.root(self.leaves[:size]), sign=log.sign)

    def proof(self, size=SIZE):
        path = merkle.inclusion(INDEX, size, tree(self.leaves))
        return checkpoints.write_proof(
            Proof(leaf=self.leaves[INDEX], index=INDEX, path=tuple(path), note=self.checkpoint(size))
        )

    def consistency(self, first, second):
        return checkpoints.write_path(merkle.consistency(first, second, tree(self.leaves)))

    def bundle(self, *, report=REPORT, pdf=PDF):
        return bundle.make(
            envelope=self.envelope, tlog_proof=self.proof(), checkpoint=self.checkpoint(), report_json=report,
            report_pdf=pdf, trust=self.keys.trust,
        )  # fmt: skip


def unchanged(_):
    pass


def statement(change=unchanged):
    read = json.loads(certificates.statement(subjects(**WITH_PDF), predicate(CERTIFICATE, REQUEST)))
    change(read)
    return json.dumps(read, sort_keys=True, separators=(",", ":")).encode()


@pytest.fixture(scope="module")
def log(tmp_path_factory):
    made = keys.new(tmp_path_factory.mktemp("verify") / "keys", ORIGIN)
    return Log(made, seal(statement(), made.certificate))


@pytest.fixture
def check(tmp_path, log):
    """Verify bytes as a bundle; (number of the failed step or None, its detail)."""

    def run(data, trust=log.keys.trust, **more):
        (tmp_path / "bundle.zip").write_bytes(data)
        last = verify.verify(tmp_path / "bundle.zip", trust, **more)[-1]
        return (None if last.ok else last.number), last.detail

    return run


def changed(data, **members):
    """The same archive with other members, packed as a bundle is packed."""
    read = unpack(data, MEMBERS)
    return pack({name: members.get(name.partition(".")[0], content) for name, content in read.items()})


# ---- what is valid --------------------------------------------------------------------------------------------------


def test_a_bundle_passes_every_step_in_order(tmp_path, log):
    path = tmp_path / "bundle.zip"
    path.write_bytes(log.bundle())

    steps = verify.verify(path, log.keys.trust, checkpoint=log.checkpoint())

    assert [(step.number, step.ok) for step in steps] == [(number, True) for number in range(8)]
    assert steps[2].detail == f"certificate {CERTIFICATE}: EQUIVALENT_WITHIN_MARGIN"
    assert log.leaves[INDEX].hex() in steps[3].detail


def test_a_bundle_without_pdf_is_valid(check, log):
    assert check(log.bundle(pdf=None)) == (None, "report.json")


def test_a_signature_of_a_stranger_beside_ours_is_ignored(check, log, tmp_path):
    stranger = keys.new(tmp_path / "stranger", "witness.test").log
    note = log.checkpoint()
    text = note.rpartition("\n\n")[0] + "\n"
    blob = b64encode(stranger.vkey.id + stranger.sign(text.encode())).decode()
    cosigned = f"{note}— {stranger.vkey.name} {blob}\n"
    proof = log.proof().replace(note, cosigned)

    assert check(changed(log.bundle(), proof=proof.encode(), checkpoint=cosigned.encode()))[0] is None


def test_old_keys_may_be_trusted_beside_new_ones(check, log, tmp_path):
    older = keys.new(tmp_path / "older", ORIGIN)

    assert check(log.bundle(), trust=f"# 2024\n{older.trust}\n# 2025\n{log.keys.trust}")[0] is None


@pytest.mark.parametrize("limit", [0, 1, INDEX, SIZE, 20])
def test_an_earlier_or_later_checkpoint_of_the_same_ledger_is_consistent(check, log, limit):
    first, second = sorted((limit, SIZE))
    path = log.consistency(first, second)
    answer = json.dumps({"hashes": path.split()})

    assert check(log.bundle(), checkpoint=log.checkpoint(limit), consistency=path)[0] is None
    assert check(log.bundle(), checkpoint=log.checkpoint(limit), consistency=answer)[0] is None


def test_the_model_that_was_handed_over_is_recognised(check, log, tmp_path):
    weights = tmp_path / "model.safetensors"
    weights.write_bytes(b"weights")
    digest = sha256(b"weights").hexdigest()

    def name_the_weights(read):
        next(each for each in read["subject"] if each["name"] == "model-after")["digest"]["sha256"] = digest

    signed = replace(log, envelope=seal(statement(name_the_weights), log.keys.certificate))

    assert check(signed.bundle(), weights=weights) == (None, digest)


# ---- every step fails for its own reason ----------------------------------------------------------------------------


def test_step_1_keys_of_somebody_else(check, log, tmp_path):
    stranger = keys.new(tmp_path / "stranger", ORIGIN)

    assert check(log.bundle(), trust=stranger.trust)[0] == 1


def test_step_1_a_payload_that_was_not_signed(check, log):
    envelope = json.loads(log.envelope)
    envelope["payload"] = b64encode(statement().replace(b"EQUIVALENT_WITHIN_MARGIN", b"LEAK_DETECTED")).decode()
    forged = replace(log, envelope=json.dumps(envelope).encode())

    assert check(forged.bundle())[0] == 1


def test_step_1_a_checkpoint_key_does_not_sign_certificates(check, log):
    forged = replace(log, envelope=seal(statement(), log.keys.log))

    assert check(forged.bundle())[0] == 1


def test_step_1_a_payload_type_that_was_not_signed(check, log):
    envelope = json.loads(log.envelope) | {"payloadType": "text/plain"}
    forged = replace(log, envelope=json.dumps(envelope).encode())

    assert check(forged.bundle())[0] == 1


def test_step_1_keys_json_that_offers_another_key(check, log, tmp_path):
    stranger = keys.new(tmp_path / "stranger", ORIGIN)
    offered = json.dumps({"keys": [{"vkey": str(stranger.log.vkey), "signs": "checkpoints"}]}).encode()

    assert check(changed(log.bundle(), keys=offered)) == (1, "keys.json offers a key that you do not trust")


def test_step_2_a_readable_copy_that_says_something_else(check, log):
    other = statement().replace(b"EQUIVALENT_WITHIN_MARGIN", b"LEAK_DETECTED")

    assert check(changed(log.bundle(), statement=other)) == (2, "statement.json is not what was signed")


def leaves_of(value, path=()):
    """The path of every value of a JSON document that has a schema of its own."""
    if isinstance(value, dict) and value:
        return [found for name, each in value.items() for found in [(*path, name), *leaves_of(each, (*path, name))]]
    return []


OPTIONAL = {"seconds", "float_digits"}
FREE = {"attempts", "metrics", "method", "versions"}
REQUIRED = [
    path for path in leaves_of(json.loads(statement()))
    if not OPTIONAL & set(path) and not FREE & set(path[:-1])
]  # fmt: skip


@pytest.mark.parametrize("path", REQUIRED, ids=".".join)
@pytest.mark.parametrize("other", ["missing", None, 3.5])
def test_step_2_a_signed_statement_without_a_field(check, log, path, other):
    def spoil(read):
        *parents, last = path
        for name in parents:
            read = read[name]
        read[last] = other
        if other == "missing":
            del read[last]

    signed = replace(log, envelope=seal(statement(spoil), log.keys.certificate))

    assert check(signed.bundle())[0] == 2


@pytest.mark.parametrize(
    "spoil",
    [
        lambda read: read["predicate"]["verdict"].update(value="PASSED"),
        lambda read: read["predicate"]["procedure"].update(attempts=[]),
        lambda read: read["predicate"]["procedure"]["attempts"].pop(),
        lambda read: read["predicate"].update(limits=[]),
        lambda read: read["subject"].append(read["subject"][0]),
        lambda read: read["subject"][0]["digest"].update(sha256="00"),
        lambda read: read.update(subject=[]),
        lambda read: read.update(predicateType="https://expunge.example/unlearning-certificate/v2"),
        lambda read: read["predicate"]["request"].update(certificate_id="\x1b[2J"),
        lambda read: read["predicate"]["verdict"].update(exact=1),
    ],
)
def test_step_2_a_signed_statement_that_means_nothing(check, log, spoil):
    signed = replace(log, envelope=seal(statement(spoil), log.keys.certificate))

    assert check(signed.bundle())[0] == 2


def test_step_3_a_proof_of_another_envelope(check, log):
    other = replace(log, envelope=seal(statement(), log.keys.certificate).replace(b",", b", ", 1))

    assert check(changed(log.bundle(), proof=other.proof().encode()))[0] == 3


def test_step_4_a_path_that_leads_elsewhere(check, log):
    lines = log.proof().splitlines(keepends=True)
    lines[3], lines[4] = lines[4], lines[3]

    assert check(changed(log.bundle(), proof="".join(lines).encode()))[0] == 4


@pytest.mark.parametrize("index", [0, INDEX - 1, INDEX + 1, SIZE, 2**60])
def test_step_4_another_index(check, log, index):
    proof = log.proof().replace(f"index {INDEX}\n", f"index {index}\n")

    assert check(changed(log.bundle(), proof=proof.encode()))[0] == 4


def test_step_5_a_root_that_the_ledger_did_not_sign(check, log, tmp_path):
    stranger = keys.new(tmp_path / "stranger", ORIGIN)
    forged = replace(log, keys=replace(log.keys, log=stranger.log))
    spoiled = changed(log.bundle(), proof=forged.proof().encode(), checkpoint=forged.checkpoint().encode())

    assert check(spoiled)[0] == 5


def test_step_5_a_certificate_key_does_not_sign_checkpoints(check, log):
    forged = replace(log, keys=replace(log.keys, log=log.keys.certificate))
    spoiled = changed(log.bundle(), proof=forged.proof().encode(), checkpoint=forged.checkpoint().encode())

    assert check(spoiled)[0] == 5


def test_step_5_a_checkpoint_that_is_not_the_one_of_the_proof(check, log):
    assert check(changed(log.bundle(), checkpoint=log.checkpoint(20).encode()))[0] == 5


def test_step_6_a_ledger_that_rewrote_its_history(check, log):
    other = replace(log, envelope=log.envelope + b" ")
    path = log.consistency(7, SIZE)

    number, detail = check(log.bundle(), checkpoint=other.checkpoint(7), consistency=path)

    assert number == 6
    assert "rewritten" in detail


@pytest.mark.parametrize("path", ["nonsense", "{", "{}", '{"hashes": [1]}', '{"hashes": ["?"]}', "[]"])
def test_step_6_a_consistency_proof_that_is_none(check, log, path):
    assert check(log.bundle(), checkpoint=log.checkpoint(7), consistency=path)[0] == 6


def test_step_6_two_trees_of_one_size(check, log):
    other = replace(log, envelope=log.envelope + b" ")

    assert check(log.bundle(), checkpoint=other.checkpoint())[0] == 6


def test_step_6_says_which_proof_it_needs(check, log):
    number, detail = check(log.bundle(), checkpoint=log.checkpoint(7))

    assert number == 6
    assert f"from=7&to={SIZE}" in detail


def test_step_6_a_checkpoint_that_nobody_signed(check, log, tmp_path):
    stranger = keys.new(tmp_path / "stranger", ORIGIN)
    forged = replace(log, keys=stranger)

    assert check(log.bundle(), checkpoint=forged.checkpoint())[0] == 6
    assert check(log.bundle(), checkpoint="nonsense")[0] == 6
    assert check(log.bundle(), checkpoint="")[0] == 6


def test_step_6_a_checkpoint_of_another_ledger_that_is_trusted_too(check, log, tmp_path):
    other = replace(log, keys=keys.new(tmp_path / "other", "ledger.test/two"))

    number, _ = check(log.bundle(), trust=log.keys.trust + other.keys.trust, checkpoint=other.checkpoint())

    assert number == 6


def test_step_7_another_report(check, log):
    assert check(log.bundle(report=REPORT + b" "))[0] == 7
    assert check(log.bundle(pdf=PDF + b" "))[0] == 7


def test_step_7_a_pdf_that_nobody_signed(check, log):
    plain = certificates.statement(subjects(), predicate(CERTIFICATE, REQUEST))
    signed = replace(log, envelope=seal(plain, log.keys.certificate))

    assert check(signed.bundle()) == (7, "report.pdf is not the file that was signed")


def test_step_7_evidence_of_another_report(check, log):
    def spoil(read):
        read["predicate"]["evidence"]["report_sha256"] = "00" * 32

    signed = replace(log, envelope=seal(statement(spoil), log.keys.certificate))

    assert check(signed.bundle()) == (7, "the evidence names another report")


def test_step_8_other_weights(check, log, tmp_path):
    weights = tmp_path / "model.safetensors"
    weights.write_bytes(b"weights")

    assert check(log.bundle(), weights=weights)[0] == 8
    assert check(log.bundle(), weights=tmp_path / "missing")[0] == 8
    assert check(log.bundle(), weights=tmp_path)[0] == 8


# ---- mutations ------------------------------------------------------------------------------------------------------


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


# ---- as a stranger runs it ------------------------------------------------------------------------------------------


@pytest.fixture
def folder(tmp_path, log):
    """An empty folder with the verifier, a bundle and the public keys; nothing of the service."""
    alone = tmp_path / "alone"
    alone.mkdir()
    (alone / "verify.pyz").write_bytes(bundle.verifier())
    (alone / "bundle.zip").write_bytes(log.bundle())
    (alone / "expunge.pub").write_text(log.keys.trust)
    (alone / "seen").write_text(log.checkpoint(7))
    (alone / "path").write_text(log.consistency(7, SIZE))
    return alone


def run(folder, *arguments):
    command = [sys.executable, "-I", "verify.pyz", *arguments]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=60, check=False)


def test_a_stranger_verifies_with_one_file(folder):
    seen = ("--checkpoint", "seen", "--consistency", "path")

    done = run(folder, "bundle.zip", "--key", "expunge.pub", *seen)

    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines()[-1] == "VALID"
    assert [line[:6] for line in done.stdout.splitlines()[:-1]] == [f"ok   {number}" for number in range(8)]


def test_a_stranger_is_told_which_step_failed(folder, log):
    (folder / "bundle.zip").write_bytes(log.bundle(report=b"another"))

    done = run(folder, "bundle.zip", "--key", "expunge.pub")

    assert (done.returncode, done.stderr) == (17, "")
    assert done.stdout.splitlines()[-2:] == [
        "FAIL 7 report digests: report.json is not the file that was signed", "NOT VALID",
    ]  # fmt: skip


@pytest.mark.parametrize("arguments", [("missing", "--key", "expunge.pub"), ("bundle.zip", "--key", "missing")])
def test_a_missing_file_is_step_0_and_no_stack_trace(folder, arguments):
    done = run(folder, *arguments)

    assert (done.returncode, done.stderr) == (10, "")
    assert "FAIL 0 input" in done.stdout


def test_the_verifier_needs_cryptography_and_nothing_else(folder):
    probe = (
        "import sys, runpy; sys.path.insert(0, 'verify.pyz'); before = set(sys.modules); import service.ledger.verify;"
        "print(sorted({n.partition('.')[0] for n in set(sys.modules) - before} - sys.stdlib_module_names))"
    )

    done = subprocess.run(
        [sys.executable, "-I", "-c", probe], cwd=folder, capture_output=True, text=True, timeout=60, check=True
    )

    assert set(json.loads(done.stdout.replace("'", '"'))) <= {"service", "cryptography", "_cffi_backend", "_openssl"}
