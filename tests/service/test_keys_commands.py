"""`expunge keys rotate` and `retire` as an operator calls them: sentences, exit codes, and no secret anywhere."""

import re
import subprocess
import sys
import threading
from base64 import b64encode
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from service.ledger import keys
from service.settings import inherited
from tests.service.ledger_fixture import leaves_of

pytestmark = pytest.mark.slow        # jobs from claim to end, or servers and processes of their own

NO_REGION = {"AWS_DEFAULT_REGION": None, "AWS_REGION": None, "AWS_PROFILE": None, "AWS_CONFIG_FILE": "/dev/null"}
EXPUNGE = (sys.executable, "-m", "service.cli", "keys")


@pytest.fixture
def expunge(folder, database_url):
    def expunge(*arguments, **changed):
        known = inherited() | {"EXPUNGE_KEYS": str(folder), "EXPUNGE_DATABASE_URL": database_url}
        env = {name: value for name, value in (known | changed).items() if value is not None}
        return subprocess.run([*EXPUNGE, *arguments], env=env, capture_output=True, text=True, check=False)

    return expunge


def test_a_rotation_says_what_verifiers_must_fetch(expunge, folder):
    old = keys.load(folder).certificate.vkey

    done = expunge("rotate", "certificate")

    new = keys.load(folder).certificate.vkey
    assert (done.returncode, done.stderr) == (0, "")
    assert f"is now {new.label} (entry 0 of the ledger)" in done.stdout
    assert str(folder / "expunge.pub") in done.stdout
    assert old.label in done.stdout


@pytest.mark.slow
def test_a_retirement_says_from_where_on(expunge, folder):
    old = keys.load(folder).log.vkey
    assert expunge("rotate", "log").returncode == 0

    done = expunge("retire", old.label, "--reason", "no-longer-used")

    assert (done.returncode, done.stderr) == (0, "")
    assert f"{old.label} is retired: nothing from entry 1 of the ledger on is its." in done.stdout


@pytest.mark.parametrize(
    ("arguments", "changed", "code", "sentence"),
    [
        (("retire", "nobody+00000000", "--reason", "other"), {}, 3, "No key in expunge.pub has this label"),
        (("retire", "CURRENT", "--reason", "other"), {}, 4, "let another one take over first"),
        (("retire", "CURRENT", "--reason", "because"), {}, 2, "Invalid value"),
        (("retire", "CURRENT"), {}, 2, "requires an argument"),
        (("rotate", "index"), {}, 2, "Invalid value"),
        (("rotate", "log", "--signer", "ftp:nowhere"), {}, 1, "must begin with one of awskms:"),
        (("rotate", "log", "--signer", "hsm:"), {}, 1, "library that is not installed"),
        (("rotate", "log", "--signer", "awskms:alias/key"), NO_REGION, 5, "cannot be had: NoRegionError"),
        (("rotate", "log"), {"EXPUNGE_DATABASE_URL": None}, 5, "EXPUNGE_DATABASE_URL is not set"),
        (("rotate", "log"), {"EXPUNGE_DATABASE_URL": "postgresql+psycopg://u:hunter2@127.0.0.1:1/d"}, 5, "database"),
        (("rotate", "log"), {"EXPUNGE_DATABASE_URL": "hunter2"}, 5, "database"),
        (("rotate", "log"), {"EXPUNGE_KEYS": "/nowhere/at/all"}, 1, "There is no folder of keys"),
        (("rotate", "log"), {"EXPUNGE_KEYS": "/etc"}, 1, "cannot be read"),
    ],
)
def test_what_is_wrong_is_one_sentence_and_an_exit_code(expunge, folder, engine, arguments, changed, code, sentence):
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    current = keys.load(folder).log.vkey.label

    done = expunge(*(current if each == "CURRENT" else each for each in arguments), **changed)

    said = re.sub(r"[\s│]+", " ", done.stdout + done.stderr)
    assert done.returncode == code, said
    assert sentence in said
    assert "Traceback" not in said
    assert "hunter2" not in said
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
    assert leaves_of(engine) == []


def spellings(pem):
    """A private key in every form in which it could be printed."""
    raw = load_pem_private_key(pem, None).private_bytes_raw()
    body = "".join(pem.decode().splitlines()[1:-1])
    return {raw.hex(), b64encode(raw).decode(), repr(raw)[2:-1], body}


@pytest.mark.slow
def test_no_secret_is_printed_logged_or_seen_in_a_list_of_processes(expunge, folder):
    secrets = spellings((folder / "log.pem").read_bytes()) | {(folder / "index.key").read_text().strip()}
    watched, over = list[str](), threading.Event()
    watcher = threading.Thread(target=watch, args=(watched, over))
    watcher.start()

    done = expunge("rotate", "log", EXPUNGE_LOG_LEVEL="DEBUG")
    over.set()
    watcher.join()

    secrets |= spellings((folder / "log.pem").read_bytes())
    assert done.returncode == 0
    assert any("keys rotate log" in each for each in watched)
    for secret in secrets:
        assert secret not in done.stdout + done.stderr
        assert not any(secret in each for each in watched)


def watch(seen, over):
    """Command lines and environments of every process that our user may see."""
    while not over.is_set():
        for process in Path("/proc").glob("[0-9]*"):
            for name in ("cmdline", "environ"):
                try:
                    seen.append((process / name).read_bytes().replace(b"\0", b" ").decode(errors="replace"))
                except OSError:
                    continue
