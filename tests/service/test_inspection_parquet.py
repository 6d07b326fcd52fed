import hashlib
import struct
import zlib
from collections import defaultdict
from io import BytesIO

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image as Pillow

from service.domain.recipes import Image, Vector
from service.errors import BadInput, InvalidDataset
from service.inspection.parquet import Options, SplitRule, inspect_parquet, parse_options
from service.inspection.rows import Scan
from service.sandbox import Limits

RULE = Options(split=SplitRule(validation=0.1, holdout=0.2))
SECRET = "8222157"      # is part of every id below, so that no message may contain it
N = 12


def png(mode="RGB", size=(4, 3), colour=0, kind="PNG") -> bytes:
    file = BytesIO()
    Pillow.new(mode, size, colour).save(file, kind)
    return file.getvalue()


def png_that_says(width: int, height: int) -> bytes:
    """A few bytes that claim to be a huge picture of one grey."""

    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    head = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    rows = zlib.compress(bytes(1 + width) * min(height, 100))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


def good() -> dict:
    return {
        "sample_id": pa.array([f"s{SECRET}-{i}" for i in range(N)]),
        "subject_id": pa.array([f"p{SECRET}-{i // 2}" for i in range(N)]),
        "split": pa.array(["train"] * 8 + ["validation"] * 2 + ["holdout"] * 2),
        "label": pa.array([i % 2 for i in range(N)], pa.int32()),
        "features": pa.array([[i, 0.5, -1.0] for i in range(N)], pa.list_(pa.float32(), 3)),
    }


def with_pictures(pictures=None) -> dict:
    columns = good()
    del columns["features"]
    return columns | {"image": pa.array(pictures or [png(colour=(i, 0, 0)) for i in range(N)], pa.binary())}


def changed(name: str, values, kind=None) -> dict:
    return good() | {name: values if isinstance(values, pa.Array) else pa.array(values, kind)}


def without(name: str) -> dict:
    return {key: column for key, column in good().items() if key != name}


@pytest.fixture
def write(tmp_path):
    def write(columns: dict, **options):
        pq.write_table(pa.table(columns), tmp_path / "data.parquet", **options)
        return tmp_path / "data.parquet"

    return write


def scan(path, options=None):
    it = Scan(path, options or Options())
    for _ in it.batches():
        pass
    return it.outcome()


def faults(path, options=None) -> list[tuple[str, str]]:
    return [(fault.pointer, fault.detail) for fault in scan(path, options).faults]


def test_a_good_file_gives_its_facts(write):
    facts = inspect_parquet(write(good()), Options())

    assert facts.rows == N
    assert facts.splits == {"train": 8, "validation": 2, "holdout": 2}
    assert (facts.subjects, facts.shared_subjects) == (6, 0)
    assert facts.classes == 2
    assert facts.input == Vector(features=3)
    assert facts.rule is None


@pytest.mark.parametrize("kind", ["PNG", "JPEG"])
@pytest.mark.parametrize(("mode", "channels"), [("L", 1), ("RGB", 3)])
def test_pictures_give_their_size(write, kind, mode, channels):
    facts = scan(write(with_pictures([png(mode, (5, 7), kind=kind)] * N))).facts

    assert facts.input == Image(channels=channels, height=7, width=5)


@pytest.mark.parametrize(
    "columns",
    [
        pytest.param(without("subject_id"), id="no subjects"),
        pytest.param(changed("subject_id", [None] * N, pa.string()), id="nobody is known"),
        pytest.param(changed("sample_id", range(N), pa.int64()), id="ids that are integers"),
        pytest.param(changed("label", [float(i % 2) for i in range(N)], pa.float64()), id="labels that are floats"),
        pytest.param(changed("label", [i % 2 for i in range(N)], pa.uint64()), id="unsigned labels"),
        pytest.param(changed("features", [[0.1, 0.2]] * N, pa.list_(pa.float32())), id="lists of equal lengths"),
        pytest.param(changed("features", [[0.1, 0.2]] * N, pa.large_list(pa.float64())), id="large lists of doubles"),
        pytest.param(changed("features", [[0.5]] * N, pa.list_(pa.float16(), 1)), id="halves"),
        pytest.param(changed("split", good()["split"].dictionary_encode()), id="splits in a dictionary"),
        pytest.param(changed("sample_id", good()["sample_id"].cast(pa.large_string())), id="large strings"),
        pytest.param(
            with_pictures() | {"image": pa.array([{"bytes": png(), "path": None}] * N)}, id="pictures of Hugging Face"
        ),
        pytest.param(good() | {"text": pa.array(["x"] * N)}, id="a column more"),
    ],
)
def test_other_spellings_are_good_too(write, columns):
    assert faults(write(columns)) == []


TRAIN = ["train"] * 8
SEEN = [*TRAIN, "validation", "validation"]


def samples(*first):
    return changed("sample_id", pa.array([*first, *(f"{SECRET} {i}" for i in range(N - len(first)))]))


def splits(*names):
    return changed("split", pa.array(names))


def labels(*first, kind=None):
    rest = [0, 1] * N
    return changed("label", pa.array([*first, *rest[: N - len(first)]], kind))


def features(*first):
    return changed("features", pa.array([*first, *[[0.0] * 2] * (N - len(first))]))


def pictures(last):
    return with_pictures([*[png()] * (N - 1), last])


BAD = {
    "/columns/sample_id": [
        (without("sample_id"), "the column is missing"),
        (samples(None, "a"), "rows without an id: 1"),
        (samples("", "a"), "empty ids: 1"),
        (samples(SECRET * 99), "ids longer than 512 bytes: 1"),
        (samples(*(f"{SECRET}-{i // 3}" for i in range(N))), "rows that repeat the id of another row: 8"),
        (changed("sample_id", [0.5] * N), "the column has another type than text or integers"),
    ],
    "/columns/subject_id": [
        (changed("subject_id", [""] * N), "empty ids: 12"),
        (changed("subject_id", [True] * N), "the column has another type than text or integers"),
    ],
    "/columns/split": [
        (without("split"), "the column is missing"),
        (splits(*SEEN, "test", "test"), "rows that say test (those that only the audit may see are called holdout): 2"),
        (splits(*SEEN, SECRET, "holdout"), "rows of another split than train, validation and holdout: 1"),
        (splits(*SEEN, None, None), "rows without a split: 2"),
        (splits(*SEEN, "train", "train"), "no row is in holdout"),
        (splits(*TRAIN, *["holdout"] * 4), "no row is in validation"),
        (splits(*["validation"] * 8, *["holdout"] * 4), "no row is in train"),
        (changed("split", [0] * N), "the column has another type than text"),
    ],
    "/columns/label": [
        (without("label"), "the column is missing"),
        (labels(None, None), "rows without a label: 2"),
        (labels(-1), "labels that are not between 0 and 99999: 1"),
        (labels(2**63, kind=pa.uint64()), "labels that are not between 0 and 99999: 1"),
        (labels(float("inf")), "labels that are not between 0 and 99999: 1"),
        (labels(0.5), "labels that are not whole numbers: 1"),
        (labels(float("nan")), "labels that are not whole numbers: 1"),
        (labels(*[0] * N), "there are fewer than two classes"),
        (labels(*[0, 2] * 6), "classes, of 3, without a row in train: 1"),
        (changed("label", [SECRET] * N), "the column has another type than integers or floats"),
    ],
    "/columns/features": [
        (without("features"), "one of the columns features, image and text is needed"),
        (good() | with_pictures(), "the columns features and image are both there: give one of them"),
        (features(*[[0.0, np.nan]] * 5), "values that are NaN, infinite, or too large for 32 bits: 5"),
        (features([0.0, -np.inf]), "values that are NaN, infinite, or too large for 32 bits: 1"),
        (features([1e300, 0.0]), "values that are NaN, infinite, or too large for 32 bits: 1"),
        (features([0.0, 1.0], [0.0], []), "rows with another number of features than the first: 2"),
        (features(None), "rows without features: 1"),
        (features([None, 0.0]), "values that are null: 1"),
        (changed("features", [[]] * N, pa.list_(pa.float32())), "a row has between 1 and 65536 features"),
        (changed("features", [[SECRET]] * N), "the column has another type than lists of floats, all of one length"),
    ],
    "/columns/image": [
        (pictures(SECRET.encode()), "pictures that cannot be decoded (PNG and JPEG can): 1"),
        (pictures(png()[:-30]), "pictures that cannot be decoded (PNG and JPEG can): 1"),
        (pictures(png(kind="GIF")), "pictures that cannot be decoded (PNG and JPEG can): 1"),
        (pictures(png_that_says(50_000, 50_000)), "pictures that cannot be decoded (PNG and JPEG can): 1"),
        (pictures(png_that_says(1025, 2)), "pictures larger than 1024 × 1024: 1"),
        (pictures(None), "rows without a picture: 1"),
        (pictures(png(size=(3, 4))), "pictures of another size or colour than the first: 1"),
        (pictures(png("L")), "pictures of another size or colour than the first: 1"),
        (pictures(png("RGBA")), "pictures neither grey nor RGB with 8 bits: 1"),
    ],
}


@pytest.mark.parametrize(
    ("pointer", "columns", "detail"),
    [pytest.param(place, *case, id=f"{place}: {case[1]}") for place, cases in BAD.items() for case in cases],
)
def test_a_bad_file_is_told_where_and_how_much(write, pointer, columns, detail):
    found = faults(write(columns, compression="none"))

    assert found == [(pointer, detail)]
    assert SECRET not in str(found)


def test_all_faults_come_at_once(write):
    columns = good() | {
        "sample_id": pa.array(["same"] * N),
        "label": pa.array([-1] * N),
        "features": pa.array([[np.nan]] * N),
    }

    with pytest.raises(InvalidDataset) as caught:
        inspect_parquet(write(columns), Options())

    columns = {fault.pointer.removeprefix("/columns/") for fault in caught.value.faults}
    assert columns == {"sample_id", "label", "features"}


def test_bytes_that_are_no_text_are_refused(write):
    raw = pa.Array.from_buffers(pa.string(), 1, pa.array([b"\xff\xfe"]).buffers())

    found = faults(write(changed("sample_id", pa.concat_arrays([raw, good()["sample_id"][1:]]))))

    assert found == [("/columns/sample_id", "some ids are not valid UTF-8")]


def test_a_label_must_be_below_the_classes_that_are_asked_for(write):
    path = write(changed("label", [0, 1, 2] * 4))

    assert faults(path, Options(classes=2)) == [("/columns/label", "labels that are not between 0 and 1: 4")]
    assert faults(path, Options(classes=7)) == []


def test_people_in_two_splits_are_counted(write):
    people = ["a", "b", "b", "b", "c", "c", "d", None, "a", "e", "a", "d"]

    facts = scan(write(changed("subject_id", people))).facts

    assert (facts.subjects, facts.shared_subjects) == (5, 2)


def test_rows_of_many_batches_are_seen_as_one_file(write):
    n = 50_000
    columns = {
        "sample_id": pa.array([f"{i}" for i in range(n - 1)] + ["0"]),
        "split": pa.array((["train"] * 8 + ["validation", "holdout"]) * (n // 10)),
        "label": pa.array(np.arange(n) % 5),
        "features": pa.array([[float(i)] for i in range(n)], pa.list_(pa.float32(), 1)),
    }

    found = faults(write(columns, row_group_size=7_000))

    assert found == [("/columns/sample_id", "rows that repeat the id of another row: 1")]


# ---- the rule -------------------------------------------------------------------------------------------------------


def split_by_hand(person: str, validation: float, holdout: float) -> int:
    u = int.from_bytes(hashlib.sha256(b"expunge split v1\x00" + person.encode()).digest()[:8], "big") / 2**64
    return 2 if u < holdout else 1 if u < holdout + validation else 0


def splits_of(path, options) -> tuple[list, list]:
    batches = list(Scan(path, options).batches())
    people = [p or s for b in batches for p, s in zip(b.subjects.to_pylist(), b.samples.to_pylist(), strict=True)]
    return people, [code for b in batches for code in b.splits.to_pylist()]


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    people=st.lists(st.none() | st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1, max_size=5)),
    shares=st.tuples(st.floats(0.05, 0.4), st.floats(0.05, 0.4)),
)
def test_the_rule_never_splits_a_person_and_is_the_one_it_says(write, people, shares):
    n = len(people)
    columns = {
        "sample_id": pa.array([f"row {i}" for i in range(n)], pa.string()),
        "subject_id": pa.array(people, pa.string()),
        "label": pa.array([0] * n, pa.int64()),
        "features": pa.array([[0.0]] * n, pa.list_(pa.float32(), 1)),
    }

    rule = SplitRule(validation=shares[0], holdout=shares[1])
    who, where = splits_of(write(columns), Options(split=rule, classes=2))

    splits = defaultdict(set)
    for person, split in zip(who, where, strict=True):
        splits[person].add(split)
    assert len(where) == n
    assert splits == {person: {split_by_hand(person, *shares)} for person in who}


def test_the_rule_gives_nearly_the_shares_that_were_asked_for(write):
    n = 20_000
    columns = {
        "sample_id": pa.array([f"row {i}" for i in range(n)]),
        "label": pa.array(np.arange(n) % 2),
        "features": pa.array([[0.0]] * n, pa.list_(pa.float32(), 1)),
    }

    facts = scan(write(columns), RULE).facts

    shares = [rows / n for rows in facts.splits.values()]
    assert shares == pytest.approx([0.7, 0.1, 0.2], abs=4 * (0.25 / n) ** 0.5)
    assert "SHA-256" in facts.rule


def test_a_column_and_a_rule_contradict_each_other(write):
    assert [pointer for pointer, _ in faults(write(good()), RULE)] == ["/columns/split"]


@pytest.mark.parametrize(
    "rule", ["", "[]", "{}", '{"validation": 0.5, "holdout": 0.5}', '{"validation": 0, "holdout": 0.1}']
)
def test_a_rule_that_is_none_is_refused(rule):
    with pytest.raises(BadInput) as caught:
        parse_options(split=rule)

    assert caught.value.faults[0].pointer == "/split"


def test_options_come_back_from_what_is_stored():
    options = parse_options(split='{"validation": 0.1, "holdout": 0.2}', classes=7)

    assert Options.model_validate(options.model_dump(mode="json")) == options


# ---- files that are none --------------------------------------------------------------------------------------------


def test_what_is_not_parquet_is_told_so(tmp_path):
    (tmp_path / "x").write_bytes(b"sample_id,label\n8222157,1\n")

    with pytest.raises(InvalidDataset) as caught:
        inspect_parquet(tmp_path / "x", Options())

    assert [fault.pointer for fault in caught.value.faults] == ["/file"]
    assert SECRET not in str(caught.value.faults)


@settings(max_examples=5, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(cut=st.floats(0, 0.999))
def test_a_file_that_is_cut_off_is_refused(write, cut):
    path = write(good())
    path.write_bytes(path.read_bytes()[: int(cut * path.stat().st_size)])

    with pytest.raises(BadInput):
        inspect_parquet(path, Options())


@settings(max_examples=6, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(at=st.floats(0, 0.999), noise=st.binary(min_size=1, max_size=64))
def test_a_file_with_noise_in_it_is_refused_or_read_but_never_hurts(write, at, noise):
    path = write(good())
    content = bytearray(path.read_bytes())
    place = int(at * len(content))
    content[place : place + len(noise)] = noise
    path.write_bytes(content)

    try:
        found = inspect_parquet(path, Options()).model_dump_json()
    except BadInput as error:
        found = f"{error} {error.faults}"

    assert SECRET not in found


def test_a_row_that_unpacks_to_too_much_is_refused(write):
    path = write(with_pictures([bytes(200 << 20), *[png()] * 11]), compression="zstd")

    with pytest.raises(BadInput, match="within limits"):
        inspect_parquet(path, Options(), limits=Limits(memory_mb=256))

    assert path.stat().st_size < 1 << 20


def test_wide_rows_that_unpack_to_many_times_their_file_are_read_in_small_batches(write):
    width = 65_536
    wide = pa.FixedSizeListArray.from_arrays(pa.array(np.zeros(width * 300, np.float32)), width)
    n = len(wide)
    columns = {
        "sample_id": pa.array(map(str, range(n))),
        "split": pa.array((["train"] * 8 + ["validation", "holdout"]) * (n // 10)),
        "label": pa.array(np.arange(n) % 2),
        "features": wide,
    }

    facts = inspect_parquet(write(columns), Options(), limits=Limits(memory_mb=256))

    assert facts.input == Vector(features=width)
