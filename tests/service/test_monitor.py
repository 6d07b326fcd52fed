"""What the monitor catches, when the operator has every right in the database and the log's own key."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from service.db.session import connect, transaction
from service.domain import merkle
from service.ledger import checkpoints, keys, replay
from service.ledger.checkpoints import read_keys, write_keys
from tests.service.ledger_fixture import ORIGIN, issue_one, leaves_of, sequence_all
from tests.service.logs import Watched, as_owner, enqueue, grow, rewrite

pytestmark = pytest.mark.slow        # jobs from claim to end, or servers and processes of their own


@pytest.fixture
def deployment(keys_dir):
    return keys.load(keys_dir)


@pytest.fixture
def watched(engine, deployment, tmp_path):
    return Watched(engine, deployment, tmp_path)


def fault(watched, **more):
    found = watched.look(**more)
    assert not found.away
    return found.fault


# ---- an honest ledger -----------------------------------------------------------------------------------------------


def test_an_empty_ledger_is_as_it_was(watched):
    assert watched.look().fault is None


@pytest.mark.parametrize("size", [1, 2, 3, 7, 8, 33])
@pytest.mark.parametrize("chunk", [0, 1, 2, 16])
def test_an_honest_ledger_of_any_size_passes_in_chunks_of_any_size(watched, size, chunk, monkeypatch):
    monkeypatch.setattr(replay, "LEVEL", chunk)
    monkeypatch.setattr(replay, "CHUNK", 1 << chunk)
    monkeypatch.setattr("service.ledger.monitor.LEVEL", chunk)
    for _ in range(size):
        watched.grow(1)

    found = watched.look(tiles=True)

    assert found.fault is None
    assert (found.size, found.checkpoints, found.notes) == (size, size, size + 1)


def test_the_replay_gives_the_root_of_every_size(engine, deployment, monkeypatch):
    monkeypatch.setattr(replay, "LEVEL", 3)
    monkeypatch.setattr(replay, "CHUNK", 8)
    grow(engine, deployment, 29)
    leaves = [merkle.leaf_hash(leaf.envelope) for leaf in leaves_of(engine)]

    with transaction(engine) as tx:
        chunks = list(replay.replay(tx, 29))

    roots = [chunk.root(size) for chunk in chunks for size in range(chunk.first + 1, chunk.end + 1)]
    assert roots == [merkle.root(leaves[:size]) for size in range(1, 30)]
    assert merkle.fold(chunks[-1].grown()[0]) == roots[-1]


def test_certificates_in_the_ledger_and_in_the_inbox_are_found(watched):
    issue_one(watched.engine, watched.keys)
    sequence_all(watched.engine, watched.keys)
    watched.tell()
    issue_one(watched.engine, watched.keys)

    assert fault(watched, signatures=True, tiles=True) is None


@pytest.mark.slow
def test_a_ledger_that_grows_while_it_is_looked_at_passes(watched, database_url):
    watched.grow(5)
    engine = connect(database_url, pool_size=2)
    other = Watched.__new__(Watched)
    other.__dict__ |= watched.__dict__ | {"engine": engine}
    with ThreadPoolExecutor(1) as pool:
        growing = pool.submit(lambda: [other.grow(40, limit=7) for _ in range(12)])
        looks = [watched.look(tiles=True)]
        while not growing.done():
            looks.append(watched.look(tiles=True))
        growing.result()
    engine.dispose()

    assert [look.fault for look in looks] == [None] * len(looks)
    assert {look.size for look in looks} != {5}


# ---- the database, changed by its owner -----------------------------------------------------------------------------

SWAP = """
UPDATE ledger_leaf SET idx = CASE idx WHEN 3 THEN -4 WHEN 4 THEN -3 END WHERE idx IN (3, 4);
UPDATE ledger_leaf SET idx = -idx WHERE idx < 0
"""


@pytest.mark.parametrize(
    ("damage", "sentence"),
    [
        ("UPDATE ledger_leaf SET envelope = 'forged' WHERE idx = 3", "Entry 3 is not what was sequenced"),
        ("UPDATE ledger_leaf SET envelope = '' WHERE idx = 3", "Entry 3 is not what was sequenced"),
        ("UPDATE ledger_leaf SET leaf_hash = sha256('x') WHERE idx = 3", "Entry 3 is not what was sequenced"),
        ("UPDATE ledger_leaf SET leaf_hash = '' WHERE idx = 3", "Entry 3 is not what was sequenced"),
        (
            "UPDATE ledger_leaf SET envelope = 'forged', leaf_hash = sha256('\\x00'::bytea || 'forged') WHERE idx = 3",
            "Node 3 of level 0",
        ),
        ("DELETE FROM ledger_leaf WHERE idx = 3", "Entry 3 is missing"),
        ("DELETE FROM ledger_leaf WHERE idx >= 9", "the last that is stored would be number 9"),
        ("UPDATE ledger_leaf SET idx = 100 WHERE idx = 3", "would be number 101"),
        (SWAP, "Node 3 of level 0"),
        ("UPDATE ledger_node SET hash = sha256('x') WHERE level = 2 AND idx = 1", "Node 1 of level 2"),
        ("DELETE FROM ledger_node WHERE level = 0 AND idx = 5", "Node 5 of level 0"),
        ("INSERT INTO ledger_node VALUES (9, 9, sha256('x'))", "has 19 nodes, and 20 are stored"),
        ("UPDATE ledger_head SET size = 10", "The head counts 10 entries"),
        ("UPDATE ledger_head SET frontier = frontier[1:1] || frontier", "does not stand on what they are"),
        ("DELETE FROM ledger_head", "The head counts 0 entries, and the last that is stored would be number 11"),
        ("DELETE FROM ledger_checkpoint WHERE size = 11", "the last checkpoint 8"),
        ("UPDATE ledger_checkpoint SET root = sha256('x') WHERE size = 4", "The checkpoint of 4 entries is stored"),
        ("UPDATE ledger_checkpoint SET note = 'nonsense' WHERE size = 4", "The checkpoint of 4 entries is not to be"),
        ("UPDATE ledger_checkpoint SET note = replace(note, '4', '5') WHERE size = 4", "4 entries is not"),
        ("UPDATE ledger_checkpoint SET size = 5 WHERE size = 4", "The checkpoint of 5 entries is stored"),
    ],
)
def test_a_change_in_one_place_is_named(watched, damage, sentence):
    watched.grow(11, limit=4)
    watched.forget_the_copy()       # so that nothing but the database speaks
    watched.anchors = ()

    as_owner(watched.engine, *damage.split(";"))

    found = fault(watched)
    assert found is not None
    assert sentence in found


def resign(watched, size, root):
    """A checkpoint of any root, with the log's own key."""
    log = watched.keys.log
    note = checkpoints.write(log.vkey, size, root, sign=log.sign)
    change = "UPDATE ledger_checkpoint SET root = :root, note = :note WHERE size = :size"
    as_owner(watched.engine, change, root=root, note=note, size=size)


def test_a_checkpoint_that_was_signed_anew_over_another_root_is_caught(watched):
    watched.grow(11, limit=4)
    resign(watched, 4, merkle.leaf_hash(b"another tree"))

    assert fault(watched) == "The checkpoint of 4 entries names another root than the entries have"


def test_a_checkpoint_signed_with_a_key_that_nobody_trusts_is_caught(watched, tmp_path):
    watched.grow(3)
    other = keys.new(tmp_path / "other", ORIGIN)
    watched.public = read_keys(other.trust)

    assert "no trusted ledger key signed" in fault(watched)


def test_a_checkpoint_from_after_the_end_of_its_key_is_caught(watched):
    watched.grow(3)
    watched.grow(2)
    watched.public = tuple(key._replace(until=3) for key in read_keys(write_keys(watched.public)))

    assert "5 entries" in fault(watched)
    watched.public = tuple(key._replace(until=5) for key in watched.public)
    assert fault(watched) is None


# ---- certificates ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("sequenced", [True, False])
def test_a_certificate_whose_bytes_were_changed_is_caught(watched, sequenced):
    certificate_id, _, _ = issue_one(watched.engine, watched.keys)
    if sequenced:
        sequence_all(watched.engine, watched.keys)
    as_owner(watched.engine, "UPDATE certificate SET envelope = envelope || ' '::bytea")

    assert f"Certificate {certificate_id} is neither an entry nor waiting" in fault(watched)


def test_a_certificate_that_was_dropped_is_missed_by_its_entry(watched):
    issue_one(watched.engine, watched.keys)
    sequence_all(watched.engine, watched.keys)
    as_owner(watched.engine, "DELETE FROM certificate")

    assert fault(watched) == "Entry 0 is a certificate that is no longer stored as it was issued"


def test_a_certificate_that_was_dropped_from_the_inbox_is_caught(watched):
    certificate_id, _, _ = issue_one(watched.engine, watched.keys)
    as_owner(watched.engine, "DELETE FROM ledger_inbox")

    assert f"Certificate {certificate_id} is neither an entry nor waiting" in fault(watched)


def test_a_certificate_that_was_dropped_everywhere_is_missed_by_its_request(watched):
    _, request_id, _ = issue_one(watched.engine, watched.keys)
    as_owner(
        watched.engine, "SET LOCAL session_replication_role = replica", "DELETE FROM ledger_inbox",
        "DELETE FROM certificate", "UPDATE deletion_request SET state = 'certified'",
    )

    assert fault(watched) == f"Request {request_id} is certified, and its certificate is gone"


def test_an_entry_that_no_trusted_key_signed_is_caught_on_demand(watched):
    issue_one(watched.engine, watched.keys)
    enqueue(watched.engine, [b"{}"])
    sequence_all(watched.engine, watched.keys)

    assert fault(watched) is None
    assert "Entry 1 is not to be trusted" in fault(watched, signatures=True)


def test_an_entry_from_after_the_end_of_its_key_is_caught_on_demand(watched):
    for _ in range(3):
        issue_one(watched.engine, watched.keys)
    sequence_all(watched.engine, watched.keys)
    certificates, log = watched.public
    watched.public = (certificates._replace(until=2), log)

    assert fault(watched) is None
    assert fault(watched, signatures=True).startswith("Entry 2 is not to be trusted: the key that signed was retired")


# ---- another history, whole in itself -------------------------------------------------------------------------------


FORKS = {
    "an entry was changed": lambda entries: [*entries[:2], b"forged", *entries[3:]],
    "two entries were swapped": lambda entries: [entries[1], entries[0], *entries[2:]],
    "an entry was put between": lambda entries: [entries[0], b"forged", *entries[1:]],
}


@pytest.mark.parametrize("change", FORKS.values(), ids=FORKS)
def test_a_rewritten_history_passes_alone_and_is_caught_by_the_anchor_and_by_the_copy(watched, change):
    watched.grow(4)
    watched.grow(3)
    rewrite(watched.engine, watched.keys, change)
    anchored, watched.anchors = watched.anchors, ()

    by_the_copy = fault(watched)
    watched.forget_the_copy()
    alone = fault(watched)
    watched.anchors = anchored
    by_the_anchor = fault(watched)

    assert by_the_copy == "The published checkpoint names another root of 7 entries: the history was rewritten"
    assert alone is None        # nothing in a database can show that all of it was replaced
    assert by_the_anchor.startswith(f"The note 4 of the {anchored[0]} names another root of 4 entries")


def test_a_ledger_that_was_cut_is_caught_by_the_anchor_and_by_the_copy(watched):
    watched.grow(4)
    watched.grow(3)
    as_owner(watched.engine, "DELETE FROM ledger_anchored")
    rewrite(watched.engine, watched.keys, lambda entries: entries[:4])

    by_the_copy = fault(watched)
    watched.forget_the_copy()
    by_the_anchor = fault(watched)

    assert by_the_copy == "The published checkpoint counts 7 entries, and the ledger has 4: its end was cut off"
    assert by_the_anchor == (
        f"The note 7 of the {watched.anchors[0]} counts 7 entries, and the ledger has 4: its end was cut off"
    )


# ---- what lies outside ----------------------------------------------------------------------------------------------


def overwrite(path: Path, content: bytes):
    path.chmod(0o644)
    path.write_bytes(content)


def test_a_note_that_was_edited_is_caught(watched):
    watched.grow(4)
    note = watched.folder / "checkpoints" / "4"
    overwrite(note, note.read_bytes().replace(b"\n4\n", b"\n5\n"))

    assert fault(watched).startswith(f"The note 4 of the {watched.anchors[0]} is not to be trusted")


def test_a_note_under_the_name_of_another_is_caught(watched):
    watched.grow(4)
    watched.grow(3)
    notes = watched.folder / "checkpoints"
    overwrite(notes / "7", (notes / "4").read_bytes())

    assert fault(watched) == f"The note 7 of the {watched.anchors[0]} is of another size: 4"


def test_a_note_that_was_taken_away_is_missed(watched):
    watched.grow(4)
    watched.grow(3)
    (watched.folder / "checkpoints" / "4").unlink()

    assert fault(watched) == f"The {watched.anchors[0]} no longer holds the checkpoint of 4 entries that it was given"


@pytest.mark.parametrize("name", ["0/000", "0/001.p/44", "1/000.p/1", "entries/000", "entries/001.p/44"])
@pytest.mark.parametrize("change", ["edit", "remove", "append"])
def test_a_tile_that_was_changed_is_caught_on_demand(watched, tmp_path, name, change):
    watched.grow(300)
    tile = tmp_path / "store/log/tile" / name
    if change == "remove":
        tile.unlink()
    else:
        data = tile.read_bytes()
        overwrite(tile, data + b"x" if change == "append" else bytes([data[0] ^ 1]) + data[1:])

    assert fault(watched) is None
    assert fault(watched, tiles=True) == f"The published tile/{name} is missing, or not what the ledger holds"


def test_what_is_away_is_no_difference_and_hides_none(watched):
    watched.grow(4)
    (watched.folder / "checkpoints" / "4").unlink()
    (watched.folder / "checkpoints").rmdir()
    watched.folder.rmdir()

    away = watched.look()
    resign(watched, 4, merkle.leaf_hash(b"another tree"))
    watched.forget_the_copy()

    assert (away.fault, away.away) == (None, (f"the {watched.anchors[0]}",))
    assert watched.look().fault == "The checkpoint of 4 entries names another root than the entries have"
