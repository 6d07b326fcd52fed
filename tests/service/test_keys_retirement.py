"""Retirement: an end that the ledger states, that the public file states, and that loses nothing which was signed."""

import fcntl
import os
from datetime import UTC, datetime
from uuid import uuid4

import pytest

from service.db.session import transaction
from service.errors import Conflict, NotFound, UnusableKeys
from service.ledger import checkpoints, keys
from service.ledger.append import issue
from service.ledger.envelopes import payload
from service.ledger.rotation import Rotation, retire, rotate
from service.ledger.untrusted import at, read_json
from tests.service.ledger_fixture import ORIGIN, add_request, issue_one, leaves_of, sealed, sequence_all

NOW = datetime(2026, 3, 1, 9, tzinfo=UTC)
USES = ("certificate", "log")


def rotated(engine, folder, use):
    return rotate(engine, folder, use, at=NOW).replaces


def end(engine, folder, vkey, **more):
    return retire(engine, folder, vkey.label, reason="key-compromised", at=NOW, **more)


@pytest.mark.parametrize("use", USES)
def test_the_end_is_the_index_of_the_entry_that_states_it(engine, folder, use):
    old = rotated(engine, folder, use)

    done = end(engine, folder, old)

    said = at(read_json(payload(leaves_of(engine)[done.entry].envelope)), "predicate")
    assert (said["action"], said["vkey"], said["reason"]) == ("retired", str(old), "key-compromised")
    line = next(line for line in keys.trust(folder).splitlines() if line.startswith(str(old)))
    assert line == f"{old} until={done.entry}"
    assert [key.until for key in keys.public_keys(folder) if key.label != old.label] == [None, None]


def test_what_waits_in_the_inbox_comes_before_the_end(engine, folder):
    before = keys.load(folder)
    old = rotated(engine, folder, "certificate")
    waiting = {issue_one(engine, before)[0] for _ in range(3)}

    done = end(engine, folder, old)

    assert waiting == {leaf.entry_id for leaf in leaves_of(engine)[1 : done.entry]}


def test_a_writer_that_holds_the_old_key_still_is_waited_for(engine, folder):
    """The transaction began before the rotation, and puts its certificate into the inbox only now."""
    before = keys.load(folder)
    certificate_id = uuid4()
    with transaction(engine) as tx:
        request_id = add_request(tx)
        old = rotated(engine, folder, "certificate")

        def go_on(_):
            if tx.in_transaction():
                envelope = sealed(before, certificate_id, request_id)
                issue(tx, request_id=request_id, certificate_id=certificate_id, envelope=envelope)
                tx.commit()

        done = end(engine, folder, old, pause=go_on)

    late = [leaf.idx for leaf in leaves_of(engine) if leaf.entry_id == certificate_id]
    assert late
    assert late[0] < done.entry


def test_the_ledger_goes_on_after_a_retirement(engine, folder):
    old = rotated(engine, folder, "log")
    end(engine, folder, old)

    issue_one(engine, keys.load(folder))

    assert sequence_all(engine, keys.load(folder)) == 1


def test_a_retirement_that_died_before_the_public_file_is_finished_by_the_next_call(engine, folder, monkeypatch):
    old = rotated(engine, folder, "certificate")
    with monkeypatch.context() as patched:
        patched.setattr("pathlib.Path.replace", interrupted)
        with pytest.raises(KeyboardInterrupt):
            end(engine, folder, old)
    assert [leaf.kind for leaf in leaves_of(engine)] == ["key", "key"]

    done = end(engine, folder, old)

    assert done.entry == 1
    assert len(leaves_of(engine)) == 2
    assert checkpoints.Vkey(*old[:2], until=1) in keys.public_keys(folder)


def interrupted(*_):
    raise KeyboardInterrupt


# ---- refusals: nothing is changed -----------------------------------------------------------------------------------


@pytest.fixture
def refused(engine, folder):
    def refused(error, match, do):
        before = {path.name: path.read_bytes() for path in folder.iterdir()}
        entries = len(leaves_of(engine))
        with pytest.raises(error, match=match) as caught:
            do()
        assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
        assert len(leaves_of(engine)) == entries
        return caught.value

    return refused


@pytest.mark.parametrize("label", ["", "nobody", f"{ORIGIN}+00000000", f"{ORIGIN}+", "-", "é\n"])
def test_an_unknown_label_is_refused_without_repeating_it(engine, folder, refused, label):
    error = refused(
        NotFound, "No key", lambda: retire(engine, folder, label, reason="other", at=NOW)
    )

    assert not label or label not in error.detail or label == "-"


@pytest.mark.parametrize("use", USES)
def test_the_key_that_signs_cannot_be_retired(engine, folder, refused, use):
    held = keys.load(folder)
    vkey = held.certificate.vkey if use == "certificate" else held.log.vkey

    refused(Conflict, "take over first", lambda: end(engine, folder, vkey))


def test_a_key_is_retired_once(engine, folder, refused):
    old = rotated(engine, folder, "certificate")
    done = end(engine, folder, old)

    refused(Conflict, f"from entry {done.entry} on", lambda: end(engine, folder, old))


def test_no_key_is_retired_in_the_middle_of_a_rotation(engine, folder, refused):
    old = rotated(engine, folder, "certificate")
    under_way = Rotation(engine, folder, "log", None, NOW).steps()
    next(under_way)

    refused(Conflict, "finish it first", lambda: end(engine, folder, old))


def test_a_retired_key_that_lies_there_as_the_one_that_signs_is_refused(engine, folder):
    private = (folder / "log.pem").read_bytes()
    end(engine, folder, rotated(engine, folder, "log"))
    (folder / "log.pem").write_bytes(private)

    with pytest.raises(UnusableKeys, match="does not belong"):
        keys.load(folder)


def test_keys_of_another_ledger_are_refused(engine, folder, refused, tmp_path):
    stranger = keys.new(tmp_path / "other", ORIGIN)
    issue_one(engine, stranger)
    sequence_all(engine, stranger)

    refused(UnusableKeys, "other keys", lambda: rotate(engine, folder, "log", at=NOW))


@pytest.mark.parametrize("use", USES)
def test_no_folder_is_no_stack_trace(engine, tmp_path, use):
    (tmp_path / "file").write_text("")
    for path in (tmp_path / "none", tmp_path / "file"):
        with pytest.raises(UnusableKeys, match="no folder"):
            rotate(engine, path, use, at=NOW)


def test_two_commands_do_not_change_the_same_keys_at_once(engine, folder, refused):
    descriptor = os.open(folder, os.O_RDONLY)
    fcntl.flock(descriptor, fcntl.LOCK_EX)

    refused(Conflict, "at the moment", lambda: rotate(engine, folder, "log", at=NOW))

    os.close(descriptor)
