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
from torch.nn.functional import cross_entropy

from service.errors import BadInput, InvalidDataset
from worker.data import Batch, Batches, Rows, count, inputs, load_tensors, read_parquet


def numbered(n: int) -> Rows:
    return Rows(torch.arange(n, dtype=torch.float32)[:, None], torch.arange(n))


def drawn(n: int, size: int, passes: int, seed: int = 0) -> list[list[int]]:
    endless = Batches(numbered(n), torch.Generator().manual_seed(seed), size)
    return [batch.y.tolist() for batch in islice(endless, passes * count(n, size))]


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


@given(n=st.integers(3, 60), size=st.integers(3, 70))
def test_no_batch_is_a_lone_row_if_there_are_more(n, size):
    assert min(len(batch) for batch in drawn(n, size, passes=1)) > 1


def test_each_pass_has_its_own_order():
    first, second = drawn(50, 50, passes=2)

    assert first != second


def test_the_same_generator_gives_the_same_batches():
    assert drawn(30, 7, passes=3, seed=5) == drawn(30, 7, passes=3, seed=5)


def test_inputs_and_labels_stay_together():
    batch = next(Batches(numbered(20), torch.Generator().manual_seed(0), 8))

    assert batch.x[:, 0].tolist() == batch.y.tolist()


@given(taken=st.integers(0, 9), begun=st.integers(0, 9))
def test_two_that_share_a_generator_go_on_from_where_they_were(taken, begun):
    g = torch.Generator().manual_seed(0)
    first, second = Batches(numbered(11), g, 4), Batches(numbered(7), g, 3)
    for _ in range(taken):
        next(first)
    for _ in range(begun):
        next(second)
    kept = first.state_dict(), second.state_dict(), g.get_state()
    expected = [next(each).y.tolist() for each in (first, second) * 5]

    h = torch.Generator()
    again = Batches(numbered(11), h, 4), Batches(numbered(7), h, 3)
    again[0].load_state_dict(kept[0])
    again[1].load_state_dict(kept[1])
    h.set_state(kept[2])

    assert [next(each).y.tolist() for each in again * 5] == expected


def test_a_pass_that_is_begun_anew_sees_every_row_once():
    endless = Batches(numbered(10), torch.Generator().manual_seed(0), 4)
    next(endless)

    endless.restart()

    assert sorted(row for batch in islice(endless, 3) for row in batch.y.tolist()) == list(range(10))


def test_what_is_done_to_a_batch_is_done_to_every_batch():
    endless = Batches(numbered(5), torch.Generator().manual_seed(0), 2, lambda b: Batch(b.x + 100, b.y))

    assert all(torch.equal(batch.x[:, 0], batch.y + 100) for batch in islice(endless, 6))


def test_a_blend_has_a_blend_of_the_losses_to_both_labels():
    outputs, y, partner = torch.tensor([[2.0, 1.0], [0.5, 0.0]]), torch.tensor([0, 1]), torch.tensor([1, 1])
    blend = Batch(torch.zeros(2, 1), y, partner, torch.tensor([0.75, 0.5]))
    to_own, to_partner = (cross_entropy(outputs, labels, reduction="none") for labels in (y, partner))

    expected = [0.75 * to_own[0] + 0.25 * to_partner[0], 0.5 * to_own[1] + 0.5 * to_partner[1]]

    assert blend.losses(outputs).tolist() == pytest.approx([loss.item() for loss in expected])
    assert blend.relabelled(lambda labels: 1 - labels).partner.tolist() == [0, 0]


def test_no_rows_give_no_batches():
    with pytest.raises(BadInput):
        Batches(numbered(0), torch.Generator(), 4)


def test_bytes_are_scaled_and_floats_are_not():
    assert inputs(torch.tensor([0, 51, 255], dtype=torch.uint8)).tolist() == pytest.approx([0, 0.2, 1])
    assert inputs(torch.tensor([3.5])).tolist() == [3.5]
    assert inputs(torch.tensor([3], dtype=torch.int32)).dtype == torch.int64


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
