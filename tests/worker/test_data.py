"""Rows, endless batches, and the two files that rows come from."""

from itertools import islice

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from safetensors.torch import save_file

from service.errors import BadInput, InvalidDataset
from worker.data import Rows, batches, count, inputs, load_tensors, read_parquet


def numbered(n: int) -> Rows:
    return Rows(torch.arange(n, dtype=torch.float32)[:, None], torch.arange(n))


def drawn(n: int, size: int, passes: int, seed: int = 0) -> list[list[int]]:
    endless = batches(numbered(n), torch.Generator().manual_seed(seed), size)
    return [y.tolist() for _, y in islice(endless, passes * count(n, size))]


@given(n=st.integers(1, 60), size=st.integers(1, 70), passes=st.integers(1, 3))
def test_every_pass_sees_every_row_once(n, size, passes):
    per_pass = count(n, size)

    seen = drawn(n, size, passes)

    for start in range(0, len(seen), per_pass):
        assert sorted(row for batch in seen[start : start + per_pass] for row in batch) == list(range(n))


@given(n=st.integers(1, 60), size=st.integers(1, 70))
def test_batches_are_never_too_large_and_differ_by_one_row_at_most(n, size):
    sizes = {len(batch) for batch in drawn(n, size, passes=1)}

    assert max(sizes) <= size
    assert max(sizes) - min(sizes) <= 1


def test_each_pass_has_its_own_order():
    first, second = drawn(50, 50, passes=2)

    assert first != second


def test_the_same_generator_gives_the_same_batches():
    assert drawn(30, 7, passes=3, seed=5) == drawn(30, 7, passes=3, seed=5)


def test_inputs_and_labels_stay_together():
    x, y = next(batches(numbered(20), torch.Generator().manual_seed(0), 8))

    assert x[:, 0].tolist() == y.tolist()


def test_no_rows_give_no_batches():
    with pytest.raises(BadInput):
        next(batches(numbered(0), torch.Generator(), 4))


def test_bytes_are_scaled_and_floats_are_not():
    assert inputs(torch.tensor([0, 51, 255], dtype=torch.uint8)).tolist() == pytest.approx([0, 0.2, 1])
    assert inputs(torch.tensor([3.5])).tolist() == [3.5]


def test_rows_whose_parts_differ_in_number_are_refused():
    with pytest.raises(BadInput):
        Rows(torch.zeros(3, 2), torch.zeros(2, dtype=torch.int64))


def test_rows_are_taken_by_position_or_by_choice():
    rows = Rows(torch.arange(8).reshape(4, 2).float(), torch.tensor([5, 6, 7, 8]), torch.tensor([0, 0, 1, 1]))

    by_position, by_choice = rows.take(torch.tensor([2, 3])), rows.take(rows.groups == 1)

    assert by_position.y.tolist() == by_choice.y.tolist() == [7, 8]


def test_tensors_come_back_from_their_file(tmp_path):
    held = {"x": torch.randint(0, 256, (3, 1, 2, 2), dtype=torch.uint8), "y": torch.tensor([0, 1, 0])}
    save_file(held, tmp_path / "rows.safetensors")

    rows = load_tensors(tmp_path / "rows.safetensors")

    assert torch.equal(rows.x, held["x"])
    assert torch.equal(rows.y, held["y"])
    assert rows.groups is None


def test_a_file_that_is_not_safetensors_is_refused(tmp_path):
    (tmp_path / "rows").write_bytes(b"PAR1 and no safetensors")

    with pytest.raises(InvalidDataset):
        load_tensors(tmp_path / "rows")


def test_a_file_without_labels_is_refused(tmp_path):
    save_file({"x": torch.zeros(2, 2)}, tmp_path / "rows")

    with pytest.raises(InvalidDataset):
        load_tensors(tmp_path / "rows")


def vectors(**columns: object) -> pa.Table:
    features = pa.FixedSizeListArray.from_arrays(pa.array(np.arange(8, dtype=np.float32)), 2)
    usual = {"sample_id": ["a", "b", "c", "d"], "split": ["train", "train", "holdout", "train"], "label": [0, 1, 1, 0]}
    return pa.table({**usual, "features": features, **columns})


def test_vectors_are_read_for_one_split(tmp_path):
    pq.write_table(vectors(subject_id=["p", "q", "q", "p"]), tmp_path / "rows.parquet")

    rows, ids = read_parquet(tmp_path / "rows.parquet", "train")

    assert ids == ["a", "b", "d"]
    assert rows.x.tolist() == [[0, 1], [2, 3], [6, 7]]
    assert rows.y.tolist() == [0, 1, 0]
    assert rows.groups is not None
    assert rows.groups[0] == rows.groups[2] != rows.groups[1]


def test_a_row_without_a_person_is_a_person_of_its_own(tmp_path):
    pq.write_table(vectors(subject_id=["p", None, None, "p"]), tmp_path / "rows.parquet")

    rows, _ = read_parquet(tmp_path / "rows.parquet")

    assert rows.groups is not None
    assert rows.groups[0] == rows.groups[3]
    assert len(rows.groups.unique()) == 3


def test_pictures_are_decoded_to_bytes(tmp_path):
    pixels = np.arange(24, dtype=np.uint8).reshape(2, 4, 3)
    Image.fromarray(pixels).save(tmp_path / "p.png")
    image = (tmp_path / "p.png").read_bytes()
    table = pa.table({"sample_id": ["a"], "split": ["train"], "label": [3], "image": [image]})
    pq.write_table(table, tmp_path / "rows.parquet")

    rows, _ = read_parquet(tmp_path / "rows.parquet")

    assert rows.x.dtype == torch.uint8
    assert torch.equal(rows.x[0], torch.from_numpy(pixels).permute(2, 0, 1))


def test_a_file_that_is_not_parquet_is_refused(tmp_path):
    (tmp_path / "rows.parquet").write_text("sample_id,split,label")

    with pytest.raises(InvalidDataset, match="not Parquet"):
        read_parquet(tmp_path / "rows.parquet")


def test_missing_columns_are_named(tmp_path):
    pq.write_table(vectors().drop_columns(["label"]), tmp_path / "rows.parquet")

    with pytest.raises(InvalidDataset, match="label"):
        read_parquet(tmp_path / "rows.parquet")
