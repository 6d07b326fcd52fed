"""Keys: made once, readable by their owner alone, and silent."""

import os
import stat
from base64 import b64decode
from hashlib import sha256

import pytest
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, load_pem_private_key
from securesystemslib.signer import Signature

from service.errors import AlreadyExists, UnusableKeys
from service.ledger import keys

ORIGIN = "ledger.test/one"
SECRET_FILES = ("certificate.pem", "log.pem", "index.key")


@pytest.fixture
def folder(tmp_path):
    keys.new(tmp_path / "keys", ORIGIN)
    return tmp_path / "keys"


def secrets_of(folder):
    pems = (load_pem_private_key((folder / name).read_bytes(), None) for name in ("certificate.pem", "log.pem"))
    return [*(pem.private_bytes_raw() for pem in pems), bytes.fromhex((folder / "index.key").read_text().strip())]


def test_what_was_made_is_what_is_loaded(tmp_path):
    made = keys.new(tmp_path / "keys", ORIGIN)

    loaded = keys.load(tmp_path / "keys")

    assert (loaded.trust, loaded.index_key, loaded.origin) == (made.trust, made.index_key, ORIGIN)
    assert loaded.trust == (tmp_path / "keys" / "expunge.pub").read_text()
    assert loaded.log.sign(b"message") == made.log.sign(b"message")


def test_the_public_lines_are_verifier_keys_as_c2sp_writes_them(folder):
    lines = (folder / "expunge.pub").read_text().splitlines()

    for line, name, file in zip(
        lines, (f"{ORIGIN}/certificates", ORIGIN), ("certificate.pem", "log.pem"), strict=True
    ):
        public = load_pem_private_key((folder / file).read_bytes(), None).public_key().public_bytes_raw()
        key_id = sha256(name.encode() + b"\n\x01" + public).hexdigest()[:8]
        assert line.split("+", 2)[:2] == [name, key_id]
        assert b64decode(line.split("+", 2)[2]) == b"\x01" + public


def test_private_files_belong_to_their_owner_alone(folder):
    modes = {name: stat.S_IMODE((folder / name).stat().st_mode) for name in SECRET_FILES}

    assert modes == dict.fromkeys(SECRET_FILES, 0o600)
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700


def test_a_generous_umask_opens_nothing(tmp_path):
    before = os.umask(0)
    try:
        keys.new(tmp_path / "keys", ORIGIN)
    finally:
        os.umask(before)

    assert {stat.S_IMODE((tmp_path / "keys" / name).stat().st_mode) for name in SECRET_FILES} == {0o600}


@pytest.mark.parametrize("left", [*SECRET_FILES, "expunge.pub"])
def test_no_key_is_ever_overwritten(folder, left):
    kept = (folder / left).read_bytes()
    for name in {*SECRET_FILES, "expunge.pub"} - {left}:
        (folder / name).unlink()

    with pytest.raises(AlreadyExists):
        keys.new(folder, ORIGIN)

    assert [path.name for path in folder.iterdir()] == [left]
    assert (folder / left).read_bytes() == kept


@pytest.mark.parametrize("name", SECRET_FILES)
@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o644])
def test_a_key_that_others_can_read_is_refused(folder, name, mode):
    (folder / name).chmod(mode)

    with pytest.raises(UnusableKeys, match="open to others"):
        keys.load(folder)


@pytest.mark.parametrize("name", [*SECRET_FILES, "expunge.pub"])
@pytest.mark.parametrize("content", [b"", b"nonsense", b"\xff\xfe", b"-----BEGIN PRIVATE KEY-----\nAAAA\n"])
def test_a_file_that_holds_no_key_is_refused(folder, name, content):
    (folder / name).write_bytes(content)

    with pytest.raises(UnusableKeys, match=name):
        keys.load(folder)


@pytest.mark.parametrize("name", [*SECRET_FILES, "expunge.pub"])
def test_a_missing_file_is_named(folder, name):
    (folder / name).unlink()

    with pytest.raises(UnusableKeys, match=name):
        keys.load(folder)


def test_a_key_of_another_kind_is_refused(folder):
    other = generate_private_key(SECP256R1()).private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    (folder / "log.pem").write_bytes(other)

    with pytest.raises(UnusableKeys, match="not an Ed25519 key"):
        keys.load(folder)


def test_private_keys_of_another_deployment_are_refused(folder, tmp_path):
    keys.new(tmp_path / "other", ORIGIN)
    (folder / "log.pem").write_bytes((tmp_path / "other" / "log.pem").read_bytes())

    with pytest.raises(UnusableKeys, match="does not belong"):
        keys.load(folder)


@pytest.mark.parametrize("origin", ["", "two words", "a+b", "line\nbreak", "x/certificates"])
def test_an_origin_that_would_break_the_formats_is_refused(tmp_path, origin):
    with pytest.raises(UnusableKeys):
        keys.new(tmp_path / "keys", origin)

    assert not (tmp_path / "keys").exists()


def test_a_folder_that_cannot_be_made_is_an_error_of_ours(tmp_path):
    (tmp_path / "file").write_text("")

    for folder in (tmp_path / "file", tmp_path / "file" / "keys"):
        with pytest.raises(UnusableKeys, match="cannot be made"):
            keys.new(folder, ORIGIN)


def test_nothing_secret_is_shown(folder):
    loaded = keys.load(folder)
    shown = f"{loaded!r} {loaded} {loaded.certificate!r} {loaded.log!r}"
    (folder / "index.key").write_text("zz" + (folder / "index.key").read_text())

    with pytest.raises(UnusableKeys) as refused:
        keys.load(folder)

    for secret in secrets_of_hidden(folder):
        assert secret.hex() not in shown + str(refused.value)
        assert repr(secret)[2:-1] not in shown + str(refused.value)


def secrets_of_hidden(folder):
    (folder / "index.key").write_text((folder / "index.key").read_text()[2:])
    return secrets_of(folder)


def test_signatures_are_those_that_securesystemslib_accepts(folder):
    pair = keys.load(folder).certificate

    signature = Signature(pair.vkey.label, pair.sign(b"message").hex())

    pair.signer.public_key.verify_signature(signature, b"message")
