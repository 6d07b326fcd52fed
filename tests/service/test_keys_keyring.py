"""Processes that run for months: API, workers and the sequencer see a rotation at their next signature."""

import threading
from datetime import UTC, datetime

import pytest

from service.db import ledger
from service.db.session import transaction
from service.errors import UnusableKeys
from service.ledger import checkpoints, keys
from service.ledger.keyring import Keyring
from service.ledger.rotation import retire, rotate
from service.ledger.sequencer import drain
from service.ledger.untrusted import RefusedError
from tests.service.ledger_fixture import ORIGIN, issue_one

NOW = datetime(2026, 3, 1, 9, tzinfo=UTC)


@pytest.fixture
def settings(settings, folder):
    return settings.model_copy(update={"keys": folder})


def test_nothing_is_read_anew_while_nothing_changes(folder):
    ring = Keyring(folder)

    assert ring.keys is ring.keys


@pytest.mark.parametrize("use", ["certificate", "log"])
def test_a_rotation_is_seen_at_the_next_use(engine, folder, use):
    ring = Keyring(folder)
    before = ring.keys

    done = rotate(engine, folder, use, at=NOW)

    assert getattr(before, use).vkey == done.replaces
    assert getattr(ring.keys, use).vkey == done.vkey
    assert ring.keys.trust == keys.trust(folder)


def test_a_folder_that_is_spoiled_under_way_is_refused_at_the_next_use(folder):
    ring = Keyring(folder)
    (folder / "log.pem").write_bytes(b"nonsense")

    with pytest.raises(UnusableKeys, match=r"log\.pem"):
        _ = ring.keys


def test_whoever_reads_in_the_middle_of_rotations_gets_keys_that_count(engine, folder):
    """A reader that mixed the files of two moments would find a private key without its line."""
    ring, over, seen = Keyring(folder), threading.Event(), set()

    def read():
        while not over.is_set():
            seen.add(ring.keys.log.vkey)

    reader = threading.Thread(target=read)
    reader.start()
    signed = [rotate(engine, folder, "log", at=NOW).vkey for _ in range(20)]
    over.set()
    reader.join()

    assert seen <= set(keys.public_keys(folder))
    assert ring.keys.log.vkey == signed[-1]


def test_a_key_that_is_retired_in_the_middle_of_reading_is_read_again(engine, folder, monkeypatch):
    """The private key was read; then another took over, and the line of the first one got its end."""
    real, over = keys.index_key, []

    def slow(path):
        if not over:
            over.append(True)
            done = rotate(engine, folder, "log", at=NOW)
            retire(engine, folder, done.replaces.label, reason="other", at=NOW)
        return real(path)

    monkeypatch.setattr(keys, "index_key", slow)

    assert Keyring(folder).keys.log.vkey == keys.public_keys(folder)[-1]


def test_a_worker_sees_a_rotation(engine, workshop, folder):
    done = rotate(engine, folder, "certificate", at=NOW)

    assert workshop.keys.certificate.vkey == done.vkey


def test_a_sequencer_signs_with_the_key_of_the_moment(engine, folder):
    ring = Keyring(folder)
    done = rotate(engine, folder, "log", at=NOW)
    issue_one(engine, keys.load(folder))

    assert drain(engine, ring, ORIGIN) == 1

    with transaction(engine) as tx:
        note = checkpoints.parse(ledger.latest_checkpoint(tx).note)
    assert checkpoints.check_note(note, [done.vkey]) == done.vkey
    with pytest.raises(RefusedError):
        checkpoints.check_note(note, [done.replaces])


# ---- what the API says ----------------------------------------------------------------------------------------------


def listed(api):
    return {each.pop("vkey"): each for each in api.get("/ledger/keys").json()["keys"]}


def test_the_first_keys_are_active_and_the_ledger_is_silent_about_them(api, folder):
    answer = api.get("/ledger/keys").json()

    assert answer["vkeys"] == keys.trust(folder).split()
    silent = {"status": "active", "from": None, "until": None, "since": None, "reason": None}
    assert answer["keys"] == [
        {"vkey": vkey, "signs": signs} | silent
        for vkey, signs in zip(answer["vkeys"], ("certificates", "checkpoints"), strict=True)
    ]


def test_a_running_api_tells_of_a_rotation(api, engine, folder):
    issue_one(engine, keys.load(folder))
    done = rotate(engine, folder, "log", at=NOW)

    said = listed(api)

    since = NOW.isoformat().replace("+00:00", "Z")
    assert said[str(done.vkey)] == {
        "signs": "checkpoints", "status": "active", "from": 1, "until": None, "since": since, "reason": None,
    }  # fmt: skip
    assert said[str(done.replaces)] == {
        "signs": "checkpoints", "status": "standby", "from": None, "until": None, "since": since, "reason": None,
    }  # fmt: skip


def test_a_running_api_tells_of_a_retirement(api, engine, folder):
    first = rotate(engine, folder, "certificate", at=NOW)
    rotate(engine, folder, "certificate", at=NOW)
    later = NOW.replace(day=9)
    retire(engine, folder, first.vkey.label, reason="key-compromised", at=later)

    said = listed(api)[str(first.vkey)]

    assert said == {
        "signs": "certificates", "status": "retired", "from": 0, "until": 2,
        "since": later.isoformat().replace("+00:00", "Z"), "reason": "key-compromised",
    }  # fmt: skip
    assert str(first.vkey) not in api.get("/ledger/keys").json()["vkeys"]
