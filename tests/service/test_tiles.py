"""The log as static files: names and bytes of tiles, and a copy of it that a stranger can check with a web server."""

import base64
import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from urllib.request import urlopen

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from hypothesis import example, given
from hypothesis import strategies as st

from service.db import ledger
from service.errors import LedgerBroken, Unavailable
from service.ledger import keys, publishing, tiles
from service.ledger.publishing import PUBLISHER, publish
from service.ledger.tiles import Tile, grown
from service.storage import FileStore, Store, open_store
from tests.service.ledger_fixture import ORIGIN, leaves_of
from tests.service.logs import as_owner, grow, rewrite, root_of
from tests.service.world import Tripwire


@pytest.fixture
def deployment(keys_dir):
    return keys.load(keys_dir)


@pytest.fixture
def files(tmp_path):
    return open_store((tmp_path / "store").as_uri()).named("log")


# ---- names and bytes ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("tile", "path"),
    [
        (Tile(0, 0, 256), "tile/0/000"),
        (Tile(0, 0, 1), "tile/0/000.p/1"),
        (Tile(2, 999, 256), "tile/2/999"),
        (Tile(0, 1000, 256), "tile/0/x001/000"),
        (Tile(1, 1234067, 256), "tile/1/x001/x234/067"),        # the example of the specification
        (Tile(None, 1234067, 8), "tile/entries/x001/x234/067.p/8"),
    ],
)
def test_a_tile_is_named_as_the_specification_says(tile, path):
    assert tile.path == path


def all_tiles(size):
    """By counting: how many nodes each level of tiles has, cut into 256s."""
    found, level, nodes = set(), 0, size
    while nodes:
        widths = [256] * (nodes // 256) + [nodes % 256] * (nodes % 256 > 0)
        found |= {(level, place, width) for place, width in enumerate(widths)}
        found |= {(None, place, width) for place, width in enumerate(widths)} if level == 0 else set()
        level, nodes = level + 1, nodes // 256
    return found


sizes = st.one_of(st.integers(0, 1000), st.integers(0, 140_000), st.sampled_from([255, 256, 257, 65_535, 65_536]))


@given(sizes, sizes)
@example(0, 65_536)
@example(65_535, 65_537)
def test_a_growth_makes_exactly_the_tiles_that_were_not_there(one, other):
    before, after = sorted((one, other))

    made = list(grown(before, after))

    assert set(made) == all_tiles(after) - all_tiles(before)
    assert len(made) == len(set(made))


@given(st.integers(0, 2), st.integers(0, 300), st.lists(st.integers(0, 2**25)))
def test_a_full_tile_takes_the_place_of_the_narrower_ones_of_earlier_trees(level, place, sizes):
    full = Tile(level, place, 256)

    earlier = {tile for size in sizes for tile in [size >> 8 * level] if tile // 256 == place and tile % 256}

    assert {tile.width + place * 256 for tile in tiles.partials(full, sizes)} == earlier


def test_a_bundle_gives_the_length_of_each_entry_in_two_bytes():
    assert tiles.bundle([b"", b"a", b"b" * 0x1234, b"c" * 65_535]) == (
        b"\0\0" + b"\0\1a" + b"\x12\x34" + b"b" * 0x1234 + b"\xff\xff" + b"c" * 65_535
    )


# ---- a stranger with a browser --------------------------------------------------------------------------------------


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_):
        pass


@contextmanager
def served(folder) -> Iterator[str]:
    """Any static file server."""
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=folder)) as server:
        thread = Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def fetch(url):
    with urlopen(url, timeout=10) as answer:        # noqa: S310  our own server
        return answer.read()


class Reader:
    """Knows the format and one public key, and no line of the service."""

    def __init__(self, base, name, public):
        self.base = base
        body, _, lines = fetch(f"{base}/checkpoint").decode().rpartition("\n\n")
        mark, who, signature = lines.strip().split(" ")
        blob = base64.b64decode(signature)
        key_id = hashlib.sha256(name.encode() + b"\n\x01" + public).digest()[:4]
        assert (mark, who, blob[:4]) == ("—", name, key_id)
        Ed25519PublicKey.from_public_bytes(public).verify(blob[4:], (body + "\n").encode())
        origin, size, root = body.split("\n")[:3]
        assert origin == name
        self.size, self.root = int(size), base64.b64decode(root)

    def tile(self, kind, place, things):
        name = f"{place:03d}" if things >= (place + 1) * 256 else f"{place:03d}.p/{things - place * 256}"
        return fetch(f"{self.base}/tile/{kind}/{name}")

    def entries(self):
        for place in range(-(-self.size // 256)):
            data = self.tile("entries", place, self.size)
            while data:
                length = int.from_bytes(data[:2], "big")
                yield data[2 : 2 + length]
                data = data[2 + length :]

    def node(self, level, place):
        """From the tile that holds it, or from the two below it."""
        if level % 8:
            left, right = self.node(level - 1, 2 * place), self.node(level - 1, 2 * place + 1)
            return hashlib.sha256(b"\1" + left + right).digest()
        data = self.tile(level // 8, place // 256, self.size >> level)
        return data[place % 256 * 32 :][:32]

    def hash(self, start, end):
        """RFC 6962, from the definition."""
        if start % (end - start) == 0 and (end - start).bit_count() == 1:
            level = (end - start).bit_length() - 1
            return self.node(level, start >> level)
        middle = start + (1 << (end - start - 1).bit_length() - 1)
        return hashlib.sha256(b"\1" + self.hash(start, middle) + self.hash(middle, end)).digest()

    def includes(self, index, entry):
        """Walks down from the root to the leaf, and up again."""
        start, end, path = 0, self.size, []
        while end - start > 1:
            middle = start + (1 << (end - start - 1).bit_length() - 1)
            left = index < middle
            path.append((left, self.hash(middle, end) if left else self.hash(start, middle)))
            start, end = (start, middle) if left else (middle, end)
        node = hashlib.sha256(b"\0" + entry).digest()
        for left, other in reversed(path):
            node = hashlib.sha256(b"\1" + (node + other if left else other + node)).digest()
        return node == self.root


@pytest.mark.parametrize("size", [1, 256, 300])
def test_a_stranger_checks_the_whole_log_over_a_static_file_server(engine, deployment, files, tmp_path, size):
    grow(engine, deployment, size)
    publish(engine, files, ORIGIN)

    with served(tmp_path / "store" / "log") as url:
        reader = Reader(url, ORIGIN, deployment.log.vkey.public)
        entries = list(reader.entries())

        assert entries == [leaf.envelope for leaf in leaves_of(engine)]
        assert reader.hash(0, size) == reader.root == root_of(engine, size)
        assert all(reader.includes(index, entries[index]) for index in {0, size // 2, size - 1})
        assert not reader.includes(0, b"another entry")


# ---- publishing -----------------------------------------------------------------------------------------------------


def contents(folder):
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_an_empty_log_publishes_nothing(engine, deployment, files, tmp_path):
    assert publish(engine, files, ORIGIN) is None

    assert not (tmp_path / "store").exists()


def test_a_copy_that_grew_in_steps_is_one_that_was_made_at_once(engine, deployment, files, tmp_path):
    for by in (100, 200, 211, 1):
        grow(engine, deployment, by)
        publish(engine, files, ORIGIN)
    at_once = open_store((tmp_path / "at once").as_uri()).named("log")

    assert publish(engine, at_once, ORIGIN) == 512
    assert publish(engine, at_once, ORIGIN) is None

    made, steps = contents(tmp_path / "at once"), contents(tmp_path / "store")
    assert {name: steps[name] for name in made} == made
    assert set(steps) - set(made) == {"log/tile/1/000.p/1"}     # its full tile is still far away


def test_a_full_tile_is_never_written_again(engine, deployment, files, tmp_path):
    grow(engine, deployment, 256)
    publish(engine, files, ORIGIN)
    full = [tmp_path / "store/log/tile" / name for name in ("0/000", "entries/000")]
    before = [(path.stat().st_ino, path.stat().st_mtime_ns) for path in full]

    grow(engine, deployment, 300)
    publish(engine, files, ORIGIN)

    assert [(path.stat().st_ino, path.stat().st_mtime_ns) for path in full] == before


def test_the_narrower_tiles_go_once_the_full_one_is_there(engine, deployment, files, tmp_path):
    for by in (10, 20, 226):
        grow(engine, deployment, by)
        publish(engine, files, ORIGIN)

    assert not list((tmp_path / "store").rglob("tile/0/000.p/*"))
    assert not list((tmp_path / "store").rglob("tile/entries/000.p/*"))


class KilledError(Exception):
    pass


def die():
    raise KilledError


class DiesLater(FileStore):
    """Ends the process, as it were, at its n-th write."""

    def __init__(self, root, lives):
        super().__init__(root)
        self.lives = lives

    def write(self, name, data, *, public=False):
        if not self.lives:
            raise KilledError
        self.lives -= 1
        super().write(name, data, public=public)


@pytest.mark.parametrize("lives", range(6))
def test_a_publisher_that_is_killed_at_any_write_is_finished_by_the_next(engine, deployment, tmp_path, lives):
    grow(engine, deployment, 300)
    with pytest.raises(KilledError):
        publish(engine, Store(DiesLater(tmp_path / "store", lives)).named("log"), ORIGIN)
    left = contents(tmp_path / "store") if lives else {}

    assert publish(engine, open_store((tmp_path / "store").as_uri()).named("log"), ORIGIN) == 300
    assert publish(engine, open_store((tmp_path / "undisturbed").as_uri()).named("log"), ORIGIN) == 300

    assert contents(tmp_path / "store") == contents(tmp_path / "undisturbed")
    assert "log/checkpoint" not in left


def test_a_reader_never_sees_a_checkpoint_without_its_tiles(engine, deployment, files, tmp_path):
    grow(engine, deployment, 10)
    publish(engine, files, ORIGIN)
    old = files.get("checkpoint")
    grow(engine, deployment, 300)
    seen = {}

    def look():
        seen.update(checkpoint=files.get("checkpoint"), tiles=set(files.names()))

    publish(engine, Store(Tripwire(FileStore(tmp_path / "store"), "replace", look)).named("log"), ORIGIN)

    assert seen["checkpoint"] == old
    assert {tile.path for tile in grown(0, 310)} <= seen["tiles"]


def test_one_publisher_is_at_work_at_a_time(engine, deployment, files):
    grow(engine, deployment, 3)

    with ledger.alone(engine, PUBLISHER) as mine:
        assert mine
        assert publish(engine, files, ORIGIN) is None
    assert publish(engine, files, ORIGIN) == 3


def test_a_store_that_is_away_is_unavailable_and_nothing_is_held(engine, deployment, tmp_path):
    grow(engine, deployment, 3)
    (tmp_path / "store").write_text("a file where the folder should be")

    for _ in range(2):
        with pytest.raises(Unavailable):
            publish(engine, open_store((tmp_path / "store").as_uri()).named("log"), ORIGIN)


@pytest.mark.parametrize("change", [lambda entries: [b"forged", *entries[1:]], lambda entries: entries[:3]])
def test_another_history_is_not_published_over_the_first(engine, deployment, files, tmp_path, change):
    grow(engine, deployment, 4)
    publish(engine, files, ORIGIN)
    before = contents(tmp_path / "store")
    rewrite(engine, deployment, change)

    with pytest.raises(LedgerBroken):
        publish(engine, files, ORIGIN)

    assert contents(tmp_path / "store") == before


ANOTHER = f"another.test/log\n1\n{'A' * 43}=\n\n— another.test/log AAAA\n".encode()


@pytest.mark.parametrize("note", [b"", b"nonsense", ANOTHER])
def test_a_checkpoint_of_somebody_else_is_not_replaced(engine, deployment, files, note):
    grow(engine, deployment, 4)
    files.replace(publishing.CHECKPOINT, note)

    with pytest.raises(LedgerBroken):
        publish(engine, files, ORIGIN)

    assert files.get(publishing.CHECKPOINT) == note


def test_the_log_is_published_to_s3_as_it_is_to_a_folder(engine, deployment, files, bucket, s3, tmp_path):
    there = open_store("s3://blobs/prefix", endpoint=s3).named("log")
    for by in (250, 20):
        grow(engine, deployment, by)
        assert publish(engine, files, ORIGIN) == publish(engine, there, ORIGIN)

    assert {f"log/{name}": there.get(name) for name in there.names()} == contents(tmp_path / "store")


@pytest.mark.parametrize("table", ["ledger_node", "ledger_leaf"])
def test_a_tile_is_not_made_of_fewer_rows_than_it_must_hold(engine, deployment, files, table):
    grow(engine, deployment, 4)
    as_owner(engine, f"DELETE FROM {table} WHERE idx = 1")      # noqa: S608  one of two names

    with pytest.raises(LedgerBroken, match="lacks rows"):
        publish(engine, files, ORIGIN)

    assert not files.has(publishing.CHECKPOINT)
