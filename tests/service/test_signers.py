"""Keys that never leave their KMS: made, used and rotated through a server that speaks AWS KMS, judged offline."""

import logging

import boto3
import pytest
from cryptography.hazmat.primitives.asymmetric.ec import ECDSA
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.utils import Prehashed
from cryptography.hazmat.primitives.hashes import SHA256
from moto.kms.utils import ECDSAPrivateKey
from moto.server import ThreadedMotoServer

from service.db.session import transaction
from service.errors import BadInput, Conflict, Unavailable, UnusableKeys
from service.ledger import bundle, checkpoints, keys, proofs, signers
from service.ledger.checkpoints import ECDSA_P256, ED25519, Vkey
from service.ledger.keyring import Keyring
from service.ledger.rotation import Rotation, retire, rotate
from tests.service.ledger_fixture import ORIGIN, REPORT, issue_one, leaves_of, sequence_all
from tests.service.test_keys_rotation import NOW, USES, notes, signed_by


def sign_digest(key, message, signing_algorithm):
    return key.private_key.sign(message, ECDSA(Prehashed(SHA256())))


@pytest.fixture(scope="module")
def endpoint():
    """The server hashes even what is sent as a digest; Amazon's does not, and here it must not either."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(ECDSAPrivateKey, "sign", sign_digest)
        server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
        server.start()
        yield "http://{}:{}".format(*server.get_host_and_port())
        server.stop()


@pytest.fixture
def kms(endpoint, monkeypatch):
    """A client of the server that our processes find in their environment, as they would find Amazon's."""
    monkeypatch.setenv("AWS_ENDPOINT_URL", endpoint)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "nobody")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "hunter2")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    client = boto3.client("kms")
    yield client
    client.close()


@pytest.fixture
def made(kms):
    """A fresh key in the KMS, and its id there."""

    def made(spec="ECC_NIST_P256"):
        return kms.create_key(KeySpec=spec, KeyUsage="SIGN_VERIFY")["KeyMetadata"]["KeyId"]

    return made


@pytest.fixture
def folder(tmp_path, made):
    """Both keys in the KMS."""
    keys.new(
        tmp_path / "keys", ORIGIN, certificate_signer=f"awskms:{made()}", log_signer=f"awskms:{made()}"
    )
    return tmp_path / "keys"


@pytest.fixture
def files(tmp_path):
    """Both keys in files."""
    keys.new(tmp_path / "keys", ORIGIN)
    return tmp_path / "keys"


# ---- signing --------------------------------------------------------------------------------------------------------


def issued(engine, held):
    """A certificate that went through inbox and sequencer, as a bundle."""
    certificate_id, _, envelope = issue_one(engine, held)
    sequence_all(engine, held)
    with transaction(engine) as tx:
        receipt = proofs.receipt(tx, certificate_id)
    return bundle.make(
        envelope=envelope, tlog_proof=receipt.tlog_proof, checkpoint=receipt.checkpoint, report_json=REPORT,
        trust=held.trust,
    )  # fmt: skip


def test_a_bundle_whose_every_signature_was_made_in_the_kms_is_valid(engine, folder, check):
    held = Keyring(folder).keys

    archive = issued(engine, held)

    assert {held.certificate.vkey.type, held.log.vkey.type} == {ECDSA_P256}
    assert check(archive, trust=keys.trust(folder))[0] is None
    assert check(archive, trust=keys.new(folder.parent / "other", ORIGIN).trust)[0] == 1


def test_no_private_key_is_in_the_folder(folder):
    assert sorted(path.name for path in folder.iterdir()) == [
        "certificate.uri", "expunge.pub", "index.key", "log.uri"
    ]  # fmt: skip
    assert {path.stat().st_mode & 0o077 for path in folder.glob("*.uri")} == {0}
    assert "PRIVATE" not in "".join(path.read_text() for path in folder.iterdir())


def test_one_key_may_lie_in_the_kms_and_the_other_in_a_file(engine, tmp_path, made, check):
    held = keys.new(tmp_path / "keys", ORIGIN, log_signer=f"awskms:{made()}")

    archive = issued(engine, held)

    assert (held.certificate.vkey.type, held.log.vkey.type) == (ED25519, ECDSA_P256)
    assert check(archive, trust=held.trust)[0] is None


# ---- rotation -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("use", USES)
def test_a_file_key_moves_into_the_kms(engine, files, made, use):
    done = rotate(engine, files, use, signer=f"awskms:{made()}", at=NOW)

    held = keys.load(files)
    assert getattr(held, use).vkey == done.vkey
    assert done.vkey.type == ECDSA_P256
    assert not (files / f"{use}.pem").exists()
    envelope, note = leaves_of(engine)[done.entry].envelope, checkpoints.parse(notes(engine)[-1])
    assert signed_by(envelope, held.certificate.vkey)
    assert checkpoints.check_note(note, [held.log.vkey]) == held.log.vkey


@pytest.mark.parametrize("steps", [1, 2, 3])
def test_a_move_that_died_is_finished_without_naming_the_key_again(engine, files, made, steps):
    under_way = Rotation(engine, files, "log", f"awskms:{made()}", NOW).steps()
    for _ in range(steps):
        next(under_way)
    under_way.close()

    done = rotate(engine, files, "log", at=NOW)

    assert keys.load(files).log.vkey == done.vkey
    assert len(leaves_of(engine)) == 1
    assert sorted(path.name for path in files.glob("log.*")) == ["log.uri"]


def test_a_move_to_another_key_than_the_one_that_was_begun_is_refused(engine, files, made):
    under_way = Rotation(engine, files, "log", f"awskms:{made()}", NOW).steps()
    next(under_way)

    with pytest.raises(Conflict, match="without --signer"):
        rotate(engine, files, "log", signer=f"awskms:{made()}", at=NOW)


def test_a_key_in_the_kms_is_never_followed_by_a_file_unasked(engine, folder):
    with pytest.raises(BadInput, match="--signer"):
        rotate(engine, folder, "log", at=NOW)


@pytest.mark.parametrize("ended", [False, True])
def test_a_key_that_has_signed_before_does_not_come_back(engine, files, made, ended):
    """Not the present one, which would replace itself, and not an old one, whose end is written down."""
    uri = f"awskms:{made()}"
    first = rotate(engine, files, "log", signer=uri, at=NOW)
    if ended:
        rotate(engine, files, "log", signer=f"awskms:{made()}", at=NOW)
        retire(engine, files, first.vkey.label, reason="other", at=NOW)
    before = keys.trust(files)

    with pytest.raises(Conflict, match="never signed"):
        rotate(engine, files, "log", signer=uri, at=NOW)

    assert keys.trust(files) == before


def test_settings_that_promise_a_kms_where_a_file_signs_are_refused_at_the_start(files, settings):
    promising = settings.model_copy(update={"keys": files, "log_signer": "awskms:alias/log"})

    with pytest.raises(UnusableKeys, match=r"EXPUNGE_LOG_SIGNER is set, but log\.pem signs"):
        Keyring.of(promising)


# ---- what goes wrong: a sentence, and nothing of the key ------------------------------------------------------------


@pytest.fixture
def quiet(caplog, capfd):
    """Whether all of these are in nothing that was logged, printed or raised."""
    caplog.set_level(logging.INFO)

    def quiet(error, *secrets):
        said = str(error) + caplog.text + "".join(capfd.readouterr())
        return not any(secret in said for secret in secrets)

    return quiet


def test_a_kms_that_refuses_is_unavailable_and_its_key_is_not_named(folder, quiet):
    gone = "11111111-2222-3333-4444-555555555555"
    (folder / "log.uri").write_text(f"awskms:{gone}\n{keys.load(folder).log.vkey}\n")

    with pytest.raises(Unavailable, match="did not sign: NotFoundException") as refused:
        keys.load(folder).log.sign(b"message")

    assert quiet(refused.value, gone, "hunter2")


def test_a_kms_that_is_away_is_unavailable(folder, monkeypatch, quiet):
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    key_id = (folder / "log.uri").read_text().splitlines()[0].removeprefix("awskms:")

    with pytest.raises(Unavailable, match="EndpointConnectionError") as away:
        keys.load(folder).log.sign(b"message")

    assert quiet(away.value, key_id, "hunter2")


def test_an_alias_that_was_moved_to_another_key_signs_nothing(kms, made, tmp_path):
    kms.create_alias(AliasName="alias/moved", TargetKeyId=made())
    held = keys.new(tmp_path / "keys", ORIGIN, log_signer="awskms:alias/moved")
    kms.update_alias(AliasName="alias/moved", TargetKeyId=made())

    with pytest.raises(UnusableKeys, match="signed with another key"):
        held.log.sign(b"message")


@pytest.mark.parametrize("spec", ["RSA_2048", "ECC_NIST_P384", "ECC_SECG_P256K1"])
def test_a_key_of_another_kind_is_refused_before_anything_is_written(made, tmp_path, spec):
    with pytest.raises((UnusableKeys, Unavailable)):
        keys.new(tmp_path / "keys", ORIGIN, certificate_signer=f"awskms:{made(spec)}")

    assert not (tmp_path / "keys").exists()


@pytest.mark.parametrize(
    ("uri", "error", "sentence"),
    [
        ("awskms:00000000-0000-0000-0000-000000000000", Unavailable, "NotFoundException"),
        ("awskms:", Unavailable, "cannot be had"),
        ("gcpkms:projects/p/locations/l/keyRings/r/cryptoKeys/k/cryptoKeyVersions/1", UnusableKeys, "not installed"),
        ("azurekms://vault.vault.azure.net/keys/k/1", UnusableKeys, "not installed"),
        ("azurekms:", UnusableKeys, "names no key"),
        ("hsm:", UnusableKeys, "not installed"),
        ("hsm:two", UnusableKeys, "names no key"),
        ("hv:k/1", UnusableKeys, "not installed"),
        ("file2:/etc/shadow", UnusableKeys, "must begin with one of"),
        ("gnupg:", UnusableKeys, "must begin with one of"),
        ("awskms", UnusableKeys, "must begin with one of"),
        ("awskms:a\nb", UnusableKeys, "must begin with one of"),
        ("", UnusableKeys, "must begin with one of"),
    ],
)
def test_a_uri_that_names_no_key_is_refused(kms, tmp_path, uri, error, sentence):
    with pytest.raises(error, match=sentence):
        keys.new(tmp_path / "keys", ORIGIN, log_signer=uri)

    assert not (tmp_path / "keys").exists()


@pytest.mark.parametrize(
    "content",
    ["", "awskms:k\n", "awskms:k\nnonsense\n", "awskms:k\n{ours}\n{ours}\n", "ftp:k\n{ours}\n", "awskms:k\n{other}\n"],
)
def test_a_file_that_names_no_key_of_ours_is_refused(folder, content):
    ours = keys.load(folder).log.vkey
    other = Vkey(ORIGIN, Ed25519PrivateKey.generate().public_key().public_bytes_raw())
    (folder / "log.uri").write_text(content.format(ours=ours, other=other))

    with pytest.raises(UnusableKeys):
        keys.load(folder)


def test_a_file_with_a_uri_that_others_can_read_is_refused(folder):
    (folder / "log.uri").chmod(0o644)

    with pytest.raises(UnusableKeys, match="open to others"):
        keys.load(folder)


def test_every_scheme_that_we_offer_is_one_of_the_librarys():
    from securesystemslib.signer import SIGNER_FOR_URI_SCHEME

    assert set(signers.IMPORTS) <= set(SIGNER_FOR_URI_SCHEME)
