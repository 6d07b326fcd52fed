"""Rotation and retirement on a real ledger: the judge is the offline verifier, and the files as they lie there."""

import stat
from datetime import UTC, datetime
from hashlib import sha256

import pytest
from sqlalchemy import text
from sqlalchemy.exc import OperationalError

from service.db.session import connect, transaction
from service.db.tables.ledger import LedgerCheckpoint
from service.ledger import checkpoints, keys
from service.ledger.envelopes import payload
from service.ledger.rotation import Rotation, retire, rotate
from service.ledger.untrusted import RefusedError, at, field, items, read_json, unbase64
from tests.service.ledger_fixture import issue_one, leaves_of, sequence_all

NOW = datetime(2026, 3, 1, 9, tzinfo=UTC)
USES = ("certificate", "log")


def present(folder, use):
    held = keys.load(folder)
    return held.certificate if use == "certificate" else held.log


def entry_of(engine, index):
    return leaves_of(engine)[index].envelope


def signed_by(envelope, vkey):
    """Whether this key signed it, as the verifier would say."""
    read = read_json(envelope)
    kind, body = field(read, "payloadType", str), payload(envelope)
    encoded = b"DSSEv1 %d %b %d %b" % (len(kind), kind.encode(), len(body), body)
    found = [each for each in items(read, "signatures") if field(each, "keyid", str) == vkey.label]
    for each in found:
        vkey.check(unbase64(field(each, "sig", str)), encoded)
    return len(found) == 1


def notes(engine):
    with transaction(engine) as tx:
        return [each.note for each in tx.query(LedgerCheckpoint).order_by(LedgerCheckpoint.size)]


# ---- rotation -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("use", USES)
def test_another_key_signs_and_the_old_one_still_counts(engine, folder, use):
    old = present(folder, use).vkey

    done = rotate(engine, folder, use, at=NOW)

    new = present(folder, use).vkey
    assert (done.vkey, done.replaces) == (new, old)
    assert new.id != old.id
    assert keys.public_keys(folder)[-1] == new
    assert old in keys.public_keys(folder)


@pytest.mark.parametrize("use", USES)
def test_the_old_private_key_is_gone_and_the_new_one_is_its_owners_alone(engine, folder, use):
    before = (folder / f"{use}.pem").read_bytes()

    rotate(engine, folder, use, at=NOW)

    held = {path.name: path.read_bytes() for path in folder.iterdir()}
    assert sorted(held) == ["certificate.pem", "expunge.pub", "index.key", "log.pem"]
    assert before not in held.values()
    assert {stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir() if path.suffix == ".pem"} == {0o600}


def test_a_new_certificate_key_is_vouched_for_by_the_old_one_and_by_itself(engine, folder):
    old = present(folder, "certificate").vkey

    done = rotate(engine, folder, "certificate", at=NOW)

    envelope = entry_of(engine, done.entry)
    said = at(read_json(payload(envelope)), "predicate")
    assert signed_by(envelope, old)
    assert signed_by(envelope, done.vkey)
    assert (said["action"], said["use"], said["vkey"], said["replaces"]) == (
        "rotated", "certificates", str(done.vkey), str(old)
    )  # fmt: skip
    subjects = items(read_json(payload(envelope)), "subject")
    assert [(each["name"], each["digest"]["sha256"]) for each in subjects] == [
        ("key", sha256(str(done.vkey).encode()).hexdigest())
    ]


def test_the_checkpoint_over_a_new_log_key_bears_both_signatures_and_the_next_one_its_own(engine, folder):
    issue_one(engine, keys.load(folder))
    old = present(folder, "log").vkey

    done = rotate(engine, folder, "log", at=NOW)
    issue_one(engine, keys.load(folder))
    sequence_all(engine, keys.load(folder))

    first, second = (checkpoints.parse(note) for note in notes(engine))
    assert first.size == done.entry + 1 == 2
    assert checkpoints.check_note(first, [old]) == old
    assert checkpoints.check_note(first, [done.vkey]) == done.vkey
    assert checkpoints.check_note(second, [done.vkey]) == done.vkey
    with pytest.raises(RefusedError):
        checkpoints.check_note(second, [old])


@pytest.mark.parametrize("use", USES)
@pytest.mark.parametrize("steps", [1, 2, 3])
def test_a_rotation_that_died_is_finished_by_the_next_call(engine, folder, use, steps):
    under_way = Rotation(engine, folder, use, None, NOW).steps()
    for _ in range(steps):
        next(under_way)
    under_way.close()
    begun = keys.secret(folder, f"{use}.next")
    chosen = keys.bound(folder, begun, present(folder, use).vkey.name).vkey

    done = rotate(engine, folder, use, at=NOW)

    assert done.vkey == chosen == present(folder, use).vkey
    assert len(leaves_of(engine)) == 1
    assert len(keys.public_keys(folder)) == 3
    assert not list(folder.glob("*.next.*"))


@pytest.mark.parametrize("use", USES)
@pytest.mark.parametrize("at_write", [1, 2, 3])
def test_a_power_cut_before_a_file_is_in_place_is_survived(engine, folder, use, at_write, monkeypatch):
    writes = []

    def cut(draft, path):
        writes.append(path)
        if len(writes) == at_write:
            raise KeyboardInterrupt
        draft.rename(path)

    with monkeypatch.context() as patched:
        patched.setattr("pathlib.Path.replace", cut)
        with pytest.raises(KeyboardInterrupt):
            rotate(engine, folder, use, at=NOW)
    keys.load(folder)

    done = rotate(engine, folder, use, at=NOW)

    assert done.vkey == present(folder, use).vkey == keys.public_keys(folder)[-1]
    assert [leaf.kind for leaf in leaves_of(engine)] == ["key"]
    assert sorted(path.name for path in folder.iterdir()) == ["certificate.pem", "expunge.pub", "index.key", "log.pem"]


@pytest.mark.parametrize("steps", [1, 2, 3, 4])
def test_at_every_step_the_folder_can_be_read_and_what_is_signed_is_believed(engine, folder, steps):
    under_way = Rotation(engine, folder, "certificate", None, NOW).steps()
    for _ in range(steps):
        next(under_way)

    held = keys.load(folder)

    held.certificate.vkey.check(held.certificate.sign(b"m"), b"m")
    assert held.certificate.vkey in checkpoints.read_keys(keys.trust(folder))


def test_a_login_that_may_act_as_application_and_sequencer_needs_no_more(database_url, folder, engine):
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as admin:
        admin.execute(text("CREATE ROLE keeper LOGIN IN ROLE expunge_app, expunge_sequencer"))
    keeper = connect(database_url.replace("//postgres:", "//keeper:", 1))
    old = rotate(keeper, folder, "log", at=NOW).replaces

    done = retire(keeper, folder, old.label, reason="other", at=NOW)

    assert leaves_of(engine)[done.entry].kind == "key"
    keeper.dispose()
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as admin:
        admin.execute(text("DROP ROLE keeper"))


@pytest.mark.parametrize("use", USES)
def test_a_database_that_is_away_changes_nothing(folder, use):
    before = {path.name: path.read_bytes() for path in folder.iterdir()}

    with pytest.raises(OperationalError):
        rotate(connect("postgresql+psycopg://nobody@127.0.0.1:1/none"), folder, use, at=NOW)

    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


def test_a_comment_in_the_public_file_outlives_a_rotation_and_a_retirement(engine, folder):
    (folder / "expunge.pub").write_text("# of the hospital\n" + (folder / "expunge.pub").read_text())
    old = present(folder, "log").vkey

    rotate(engine, folder, "log", at=NOW)
    retire(engine, folder, old.label, reason="other", at=NOW)

    assert keys.trust(folder).startswith("# of the hospital\n")
    assert [key.until for key in keys.public_keys(folder)] == [None, 1, None]
