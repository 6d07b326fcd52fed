"""The public file: strict in what it reads, and what it reads it writes again; keys of both kinds."""

from base64 import b64decode, b64encode
from hashlib import sha256

import pytest
from cryptography.hazmat.primitives.asymmetric.ec import ECDSA, SECP256R1, SECP384R1, generate_private_key
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature, encode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA256, SHA384
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import given
from hypothesis import strategies as st

from service.ledger import checkpoints
from service.ledger.checkpoints import ECDSA_P256, Vkey, listed, read_keys, write_keys
from service.ledger.untrusted import RefusedError

NAME = "ledger.test/one"
ED = Vkey(NAME, Ed25519PrivateKey.generate().public_key().public_bytes_raw())
ROOT = bytes(32)


def spki(private):
    return private.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


P256 = generate_private_key(SECP256R1())
EC = Vkey(NAME, spki(P256), type=ECDSA_P256)


# ---- lines ----------------------------------------------------------------------------------------------------------


publics, ends = st.binary(min_size=32, max_size=32), st.none() | st.integers(0, 10**18)


@given(st.lists(st.tuples(publics, ends), unique_by=lambda pair: pair[0]))
def test_what_is_written_is_read_again(pairs):
    keys = tuple(Vkey(NAME, public, until) for public, until in pairs)

    assert read_keys(write_keys(keys)) == keys


def test_a_key_without_an_end_is_a_line_that_every_c2sp_verifier_reads():
    assert write_keys([ED]) == f"{ED}\n"
    assert str(ED._replace(until=7)) == str(ED)


def test_an_end_is_an_attribute_of_the_line():
    assert write_keys([ED._replace(until=7)]) == f"{ED} until=7\n"
    assert read_keys(f"# old\n{ED} until=7\n\n{EC}\n") == (ED._replace(until=7), EC)


@pytest.mark.parametrize(
    "attribute",
    [
        " until=", " until=-1", " until=+1", " until=07", " until=1.0", " until=1e3", " until=0x1", " until=one",
        " until=10000000000000000000", " until=１", "  until=1", " until=1 ", " ", "\tuntil=1", " until=1 until=1",
        " until=1 until=2", " until=1,until=2", " Until=1", " since=1", " until = 1", " until=1 # old", "until=1",
        " 1", "\r", " until=1\r",
    ],
)  # fmt: skip
def test_any_other_attribute_is_refused(attribute):
    with pytest.raises(RefusedError):
        read_keys(f"{ED}{attribute}\n")


@pytest.mark.parametrize("second", [str(ED), f"{ED} until=3"], ids=["same", "with an end"])
def test_a_key_that_is_named_twice_is_refused(second):
    with pytest.raises(RefusedError, match="twice"):
        read_keys(f"{ED}\n{second}\n")


def test_keys_json_shows_an_end_only_where_there_is_one():
    assert listed([ED, ED._replace(until=0)]) == [
        {"vkey": str(ED), "signs": "checkpoints"},
        {"vkey": str(ED), "signs": "checkpoints", "until": 0},
    ]


# ---- ECDSA P-256 ----------------------------------------------------------------------------------------------------


def test_a_p256_key_is_written_as_verifiers_of_other_houses_write_it():
    """transparency-dev and Rekor: type byte 2, SPKI in DER, id of the DER alone."""
    name, key_id, encoded = str(EC).split("+", 2)

    assert (name, key_id) == (NAME, sha256(EC.public).hexdigest()[:8])
    assert b64decode(encoded) == b"\x02" + EC.public
    assert read_keys(str(EC)) == (EC,)


def test_rekors_published_line_is_read():
    line = (
        "rekor.sigstore.dev+c0d23d6a+AjBZMBMGByqGSM49AgEGCCqGSM49AwEHA0IABNhtmPtrWm3U1eQXBogSMdGvXwBcK5AW5i0hrZLOC96l"
        "+smGNM7nwZ4QvFK/4sueRoVj//QP22Ni4Qt9DPfkWLc="
    )

    key = read_keys(line)[0]

    assert (str(key), key.type) == (line, ECDSA_P256)


def test_a_checkpoint_signed_by_p256_is_believed_and_a_changed_one_is_not():
    note = checkpoints.write(EC, 5, ROOT, sign=lambda message: P256.sign(message, ECDSA(SHA256())))

    assert checkpoints.check_note(checkpoints.parse(note), [ED, EC]) == EC
    with pytest.raises(RefusedError):
        checkpoints.check_note(checkpoints.parse(note.replace("\n5\n", "\n6\n")), [ED, EC])


@pytest.mark.parametrize(
    "signature",
    [
        b"", b"\x30", b"\x00" * 64, b"\x30\x06\x02\x01\x00\x02\x01\x00",
        P256.sign(b"m", ECDSA(SHA384())), P256.sign(b"n", ECDSA(SHA256())),
        P256.sign(b"m", ECDSA(SHA256())) + b"\x00",
        encode_dss_signature(*reversed(decode_dss_signature(P256.sign(b"m", ECDSA(SHA256()))))),
    ],
    ids=range(8),
)  # fmt: skip
def test_a_p256_signature_of_anything_else_is_refused(signature):
    with pytest.raises(RefusedError):
        EC.check(signature, b"m")


def compressed():
    point = P256.public_key().public_bytes(Encoding.X962, PublicFormat.CompressedPoint)
    return bytes.fromhex("3039301306072a8648ce3d020106082a8648ce3d030107032200") + point


@pytest.mark.parametrize(
    "public",
    [
        b"", b"\x30", EC.public[:-1], EC.public + b"\0", compressed(), spki(generate_private_key(SECP384R1())),
        spki(Ed25519PrivateKey.generate()), EC.public[:-64] + bytes(64),
    ],
    ids=range(8),
)  # fmt: skip
def test_a_p256_line_of_another_key_or_encoding_is_refused(public):
    """One key has one line, one id and one digest."""
    line = f"{NAME}+{sha256(public).hexdigest()[:8]}+{b64encode(ECDSA_P256 + public).decode()}"

    with pytest.raises(RefusedError):
        read_keys(line)


@pytest.mark.parametrize("kind", [b"\x00", b"\x03", b"\x04", b"\xff"])
def test_a_line_of_an_unknown_type_is_refused(kind):
    for public in (ED.public, EC.public):
        key = Vkey(NAME, public, type=kind)
        line = f"{NAME}+{sha256(public).hexdigest()[:8]}+{b64encode(kind + public).decode()}"

        for each in (str(key), line):
            with pytest.raises(RefusedError):
                read_keys(each)


def test_an_ed25519_key_is_no_p256_key_nor_the_other_way_round():
    for key in (Vkey(NAME, EC.public), Vkey(NAME, ED.public, type=ECDSA_P256)):
        with pytest.raises(RefusedError):
            read_keys(str(key))
        with pytest.raises(RefusedError):
            key.check(bytes(64), b"m")
