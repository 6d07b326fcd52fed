from io import BytesIO

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image as Pillow
from safetensors.numpy import load_file

from service.errors import BadInput, InvalidDataset
from service.inspection.parquet import Options, SplitRule, inspect_parquet
from service.sandbox import Limits
from worker.ingest import ingest

N = 40_000
SPLITS = ("train", "validation", "holdout")


def columns(n: int = N) -> dict:
    rng = np.random.default_rng(7)
    return {
        "sample_id": pa.array([f"sample \u00e4\n{i}" for i in range(n)]),
        "subject_id": pa.array([None if i % 10 == 0 else f"p{i // 3}" for i in range(n)]),
        "split": pa.array([SPLITS[max(0, i % 10 - 7)] for i in range(n)]),
        "label": pa.array(rng.integers(0, 5, n)),
        "features": pa.array(list(rng.normal(size=(n, 6)).astype(np.float32)), pa.list_(pa.float32(), 6)),
    }


def collect(path, out, options):
    """All rows, and the facts that the generator returns."""
    rows, batches = [], ingest(path, out, options)
    while True:
        try:
            rows += next(batches)
        except StopIteration as end:
            return rows, end.value


@pytest.fixture
def data(tmp_path):
    pq.write_table(pa.table(columns()), tmp_path / "data.parquet", row_group_size=9_000)
    return tmp_path / "data.parquet"


def test_rows_and_tensors_are_those_of_the_file_in_its_order(data, tmp_path):
    table = pq.read_table(data)

    rows, _ = collect(data, tmp_path / "out", Options())

    held = load_file(tmp_path / "out")
    codes = [SPLITS.index(name) for name in table["split"].to_pylist()]
    asked = [table[name].to_pylist() for name in ("sample_id", "subject_id")]
    assert rows == list(zip(range(N), *asked, codes, table["label"].to_pylist(), strict=True))
    assert held["x"].dtype == np.float32
    np.testing.assert_array_equal(held["x"], np.array(table["features"].to_pylist(), np.float32))
    np.testing.assert_array_equal(held["y"], table["label"].to_numpy())


def test_the_facts_are_those_of_the_inspection(data, tmp_path):
    options = Options(classes=9)

    _, facts = collect(data, tmp_path / "out", options)

    assert facts == inspect_parquet(data, options)


def test_the_tensors_are_for_nobody_else(data, tmp_path):
    collect(data, tmp_path / "out", Options())

    assert (tmp_path / "out").stat().st_mode & 0o777 == 0o600


def test_two_runs_give_the_same_bytes(data, tmp_path):
    collect(data, tmp_path / "first", Options())
    collect(data, tmp_path / "second", Options())

    assert (tmp_path / "first").read_bytes() == (tmp_path / "second").read_bytes()


def test_the_size_of_row_groups_does_not_show(data, tmp_path):
    pq.write_table(pa.table(columns()), tmp_path / "whole.parquet")

    first = collect(data, tmp_path / "first", Options())
    second = collect(tmp_path / "whole.parquet", tmp_path / "second", Options())

    assert first == second
    assert (tmp_path / "first").read_bytes() == (tmp_path / "second").read_bytes()


def test_pictures_become_channels_first(tmp_path):
    pixels = np.random.default_rng(3).integers(0, 256, (30, 5, 4, 3), dtype=np.uint8)
    held = columns(30) | {"image": pa.array([encoded(picture) for picture in pixels], pa.binary())}
    del held["features"]
    pq.write_table(pa.table(held), tmp_path / "data.parquet")

    collect(tmp_path / "data.parquet", tmp_path / "out", Options(classes=5))

    np.testing.assert_array_equal(load_file(tmp_path / "out")["x"], pixels.transpose(0, 3, 1, 2))


def encoded(picture: np.ndarray) -> bytes:
    file = BytesIO()
    Pillow.fromarray(picture).save(file, "PNG")
    return file.getvalue()


def test_the_rule_keeps_people_together(tmp_path):
    held = columns()
    del held["split"]
    pq.write_table(pa.table(held), tmp_path / "data.parquet")

    rows, facts = collect(
        tmp_path / "data.parquet", tmp_path / "out", Options(split=SplitRule(validation=0.2, holdout=0.3))
    )

    splits = {}
    for _, _, person, split, _ in rows:
        if person is not None:
            assert splits.setdefault(person, split) == split
    counts = [sum(row[3] == code for row in rows) for code in range(3)]
    assert facts.splits == dict(zip(SPLITS, counts, strict=True))


def test_a_fault_in_the_last_row_takes_everything_back(tmp_path):
    held = columns()
    held["sample_id"] = pa.concat_arrays([held["sample_id"][:-1], held["sample_id"][:1]])
    pq.write_table(pa.table(held), tmp_path / "data.parquet")

    with pytest.raises(InvalidDataset) as caught:
        collect(tmp_path / "data.parquet", tmp_path / "out", Options())

    assert [fault.detail for fault in caught.value.faults] == ["rows that repeat the id of another row: 1"]
    assert not (tmp_path / "out").exists()


def test_leaving_early_takes_the_tensors_away(data, tmp_path):
    batches = ingest(data, tmp_path / "out", Options())

    next(batches)
    batches.close()

    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("content", [b"", b"PAR1", bytes(1000), b"PAR1" + bytes(100) + b"PAR1"])
def test_garbage_is_bad_input(tmp_path, content):
    (tmp_path / "data.parquet").write_bytes(content)

    with pytest.raises(BadInput):
        collect(tmp_path / "data.parquet", tmp_path / "out", Options())

    assert not (tmp_path / "out").exists()


def test_a_file_that_needs_more_than_its_limits_is_bad_input(data, tmp_path):
    with pytest.raises(BadInput):
        list(ingest(data, tmp_path / "out", Options(), limits=Limits(memory_mb=1)))

    assert not (tmp_path / "out").exists()


def test_tensors_that_are_too_large_for_the_disk_limit_are_bad_input(data, tmp_path):
    with pytest.raises(BadInput):
        list(ingest(data, tmp_path / "out", Options(), limits=Limits(file_mb=0)))

    assert not (tmp_path / "out").exists()
