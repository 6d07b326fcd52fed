"""Rows that leave a data set's files: no byte of them stays, and no byte of the others moves."""

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file
from torch import Tensor

from service.errors import BadInput, InvalidDataset
from service.inspection.parquet import Options
from tests.tiny import tiny_parquet, tiny_rows
from worker.erasing import blank, without
from worker.ingest import ingest


@given(st.sets(st.integers(0, 7)), st.sampled_from([torch.float32, torch.uint8, torch.int32]))
@settings(max_examples=25, deadline=None)
def test_blank_rows_are_zeros_and_the_others_have_their_bits(
    tmp_path_factory: pytest.TempPathFactory, rows: set[int], dtype: torch.dtype
) -> None:
    path = tmp_path_factory.mktemp("rows") / "rows.safetensors"
    before = {"x": torch.randint(1, 100, (8, 2, 3)).to(dtype), "y": torch.randint(1, 9, (8,))}
    save_file(before, path)
    size = path.stat().st_size

    blank(path, sorted(rows))

    gone = torch.tensor([row in rows for row in range(8)])
    after, wanted = load_file(path), {name: zeroed(each, gone) for name, each in before.items()}
    assert all(torch.equal(after[name], wanted[name]) for name in wanted)
    assert path.stat().st_size == size


def zeroed(tensor: Tensor, gone: Tensor) -> Tensor:
    wanted = tensor.clone()
    wanted[gone] = 0
    return wanted


def test_what_is_left_of_a_file_is_read_as_before(tmp_path: Path) -> None:
    rows, gone = tiny_rows(), {0, 7, 250, 479}
    file, out = tiny_parquet(tmp_path / "file.parquet"), tmp_path / "out.parquet"

    without(file, out, sorted(gone))

    left = [row for place, row in enumerate(rows) if place not in gone]
    assert told(out) == told(tiny_parquet(tmp_path / "left.parquet", left))
    assert pq.read_schema(out) == pq.read_schema(file)


def told(path: Path) -> list[Any]:
    return [row for batch in ingest(path, path.with_suffix(".safetensors"), Options()) for row in batch]


IDS = [f"secret-{i}" for i in range(6)]
COLUMNS: dict[str, tuple[str, pa.Array]] = {
    "text": ("text", pa.array(IDS)),
    "dictionary": ("text", pa.array(IDS).dictionary_encode()),
    "large": ("subject_id", pa.array(IDS, pa.large_string())),
    "picture": ("image", pa.array([each.encode() for each in IDS], pa.binary())),
    "picture and name": ("image", pa.StructArray.from_arrays(
        [pa.array([each.encode() for each in IDS]), pa.array(IDS).dictionary_encode()], ["bytes", "path"])),
}


@pytest.mark.parametrize(("name", "column"), COLUMNS.values(), ids=COLUMNS)
def test_no_byte_of_a_row_that_is_gone_stays_in_the_file(tmp_path: Path, name: str, column: pa.Array) -> None:
    table = pa.table({"sample_id": [f"id-{i}" for i in range(6)], name: column})
    table = table.replace_schema_metadata({"written_by": "secret-2"})
    whole = 6 if pa.types.is_struct(column.type) else 4     # of dictionaries in structs pyarrow reads one group alone
    pq.write_table(table, tmp_path / "file.parquet", row_group_size=whole)

    without(tmp_path / "file.parquet", tmp_path / "out.parquet", [2])

    out = pq.read_table(tmp_path / "out.parquet")
    pq.write_table(out, tmp_path / "plain.parquet", compression="none")
    assert b"secret-2" not in (tmp_path / "out.parquet").read_bytes() + (tmp_path / "plain.parquet").read_bytes()
    assert b"secret-3" in (tmp_path / "plain.parquet").read_bytes()
    assert out["sample_id"].to_pylist() == ["id-0", "id-1", "id-3", "id-4", "id-5"]
    assert out[name].to_pylist() == [each for i, each in enumerate(table[name].to_pylist()) if i != 2]


def test_columns_that_nobody_reads_do_not_come_along(tmp_path: Path) -> None:
    remarks = pa.ListArray.from_arrays(list(range(7)), pa.array(IDS).dictionary_encode())
    table = pa.table({"sample_id": IDS, "features": [[1.0]] * 6, "text": remarks, "notes": remarks})
    pq.write_table(table, tmp_path / "file.parquet", row_group_size=4)

    without(tmp_path / "file.parquet", tmp_path / "out.parquet", [2])

    assert pq.read_table(tmp_path / "out.parquet").column_names == ["sample_id", "features"]


def test_rows_that_the_file_does_not_have_are_a_sentence(tmp_path: Path) -> None:
    file = tiny_parquet(tmp_path / "file.parquet")

    with pytest.raises(InvalidDataset, match="lacks rows"):
        without(file, tmp_path / "out.parquet", [480])


def test_a_file_that_is_no_parquet_is_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "file.parquet").write_bytes(b"PAR1 nonsense PAR1")

    with pytest.raises(BadInput, match="could not be parsed"):
        without(tmp_path / "file.parquet", tmp_path / "out.parquet", [0])
