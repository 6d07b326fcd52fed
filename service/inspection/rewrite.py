"""Write a Parquet file anew without some of its rows; runs in the sandbox as `-m service.inspection.rewrite`.

Nothing of a row stays that is gone: statistics and dictionaries of pages are made of the rows that are left, and a
column that keeps a dictionary of its own (all values that ever occurred) is written without it.
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

from service.inspection.rows import batch_rows, opened
from service.inspection.tally import Tally


def rewrite(path: Path, out: Path, gone: set[int]) -> tuple[int, int]:
    """Copy all rows but those at the places `gone`; returns how many there were, and how many were copied."""
    file = opened(path, Tally())
    if file is None:
        raise ValueError("this is not a Parquet file")
    schema = pa.schema([field.with_type(dense(field.type)) for field in file.schema_arrow])
    seen = kept = 0
    with pq.ParquetWriter(out, schema, compression="zstd") as writer:
        for batch in file.iter_batches(batch_rows(file.metadata), use_threads=False):
            stays = pa.array([place not in gone for place in range(seen, seen + len(batch))], pa.bool_())
            left = pa.Table.from_batches([batch]).filter(stays).cast(schema)
            writer.write_table(left)
            seen, kept = seen + len(batch), kept + len(left)
    return seen, kept


def dense(kind: pa.DataType) -> pa.DataType:
    """The type that holds the same values, each in its own place."""
    if pa.types.is_dictionary(kind):
        return dense(kind.value_type)
    if isinstance(kind, pa.BaseExtensionType):
        return dense(kind.storage_type)
    if pa.types.is_struct(kind):
        return pa.struct([kind.field(i).with_type(dense(kind.field(i).type)) for i in range(kind.num_fields)])
    if pa.types.is_map(kind):
        return pa.map_(dense(kind.key_type), dense(kind.item_type))
    if pa.types.is_fixed_size_list(kind):
        return pa.list_(dense(kind.value_type), kind.list_size)
    if pa.types.is_large_list(kind):
        return pa.large_list(dense(kind.value_type))
    return pa.list_(dense(kind.value_type)) if pa.types.is_list(kind) else kind


def main(path: str, out: str, places: str) -> None:
    """Write `out`, and print how many rows there were and how many are left; `places` is a file of int64."""
    gone = array("q", Path(places).read_bytes())
    sys.stdout.write(json.dumps(rewrite(Path(path), Path(out), set(gone))))


if __name__ == "__main__":
    main(*sys.argv[1:])
