"""Tell the ids of a Parquet file; runs in the sandbox as `-m service.inspection.ids`.

Standard output has one line of JSON per batch: the ids of its samples, and those of its persons. The file is one that
was inspected and found usable.
"""
# pyarrow brings no types:
# pyright: reportMissingTypeStubs=false, reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false, reportUnknownParameterType=false

import json
import sys
from pathlib import Path

import pyarrow as pa

from service.inspection.columns import as_text
from service.inspection.inputs import BATCH_ROWS
from service.inspection.rows import opened
from service.inspection.tally import Tally

NAMES = ("sample_id", "subject_id")


def main(path: str) -> None:
    """Print all ids, as the index would have them."""
    file = opened(Path(path), Tally())
    if file is None:
        raise ValueError("this is not a Parquet file")
    there = [name for name in NAMES if name in file.schema_arrow.names]
    for batch in file.iter_batches(BATCH_ROWS, columns=there, use_threads=False):
        told = [_ids(batch.column(name)) if name in there else [] for name in NAMES]
        sys.stdout.write(json.dumps(told, ensure_ascii=False, separators=(",", ":")) + "\n")


def _ids(column: pa.Array) -> list[str]:
    text = as_text(column)
    if text is None:
        raise ValueError("some ids are not valid UTF-8")
    return text.drop_null().unique().to_pylist()


if __name__ == "__main__":
    main(*sys.argv[1:])
