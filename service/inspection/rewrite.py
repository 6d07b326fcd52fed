"""Write a Parquet file anew without some of its rows; runs in the sandbox as `-m service.inspection.rewrite`.

Nothing of a row stays that is gone: statistics and dictionaries of pages are made of the rows that are left, a column
that keeps a dictionary of its own (all values that ever occurred) is written without it, and so is what the service
never reads: remarks about the file, and columns of other names, whatever they hold.
"""
# pyarrow brings no types:
# pyright: reportMissingTypeStubs=false, reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false, reportUnknownParameterType=false

import json
import sys
from array import array
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from service.inspection.rows import KNOWN, batch_rows, opened
from service.inspection.tally import Tally


def rewrite(path: Path, out: Path, gone: set[int]) -> tuple[int, int]:
    """Copy all rows but those at the places `gone`; returns how many there were, and how many were copied."""
    file = opened(path, Tally())
    if file is None:
        raise ValueError("this is not a Parquet file")
    names = read(file.schema_arrow.names)
    schema = pa.schema([pa.field(name, dense(file.schema_arrow.field(name).type)) for name in names])
    seen = kept = 0
    with pq.ParquetWriter(out, schema, compression="zstd") as writer:
        for batch in file.iter_batches(batch_rows(file.metadata), columns=names, use_threads=False):
            stays = pa.array([place not in gone for place in range(seen, seen + len(batch))], pa.bool_())
            left = pa.Table.from_batches([batch]).select(names).filter(stays).cast(schema)
            writer.write_table(left)
            seen, kept = seen + len(batch), kept + len(left)
    return seen, kept


def read(names: list[str]) -> list[str]:
    """The columns that the service reads; where there are features or pictures, a text is a remark."""
    unread = set[str]() if {"features", "image"}.isdisjoint(names) else {"text"}
    return [name for name in names if name in KNOWN and name not in unread]


def dense(kind: pa.DataType) -> pa.DataType:
    """The type that holds the same values, each in its own place."""
    if pa.types.is_dictionary(kind):
        return kind.value_type
    if pa.types.is_struct(kind):        # a picture: its bytes, and what its file was called
        return pa.struct([pa.field(kind.field(i).name, dense(kind.field(i).type)) for i in range(kind.num_fields)])
    return kind


def main(path: str, out: str, places: str) -> None:
    """Write `out`, and print how many rows there were and how many are left; `places` is a file of int64."""
    gone = array("q", Path(places).read_bytes())
    sys.stdout.write(json.dumps(rewrite(Path(path), Path(out), set(gone))))


if __name__ == "__main__":
    main(*sys.argv[1:])
