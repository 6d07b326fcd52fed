"""Write a data set's tensors and tell its rows; runs in the sandbox as `-m service.inspection.unpack`.

Standard output has one line of JSON per batch, a list of [sample, subject, split, label], and a last one: the outcome.
"""
# pyarrow brings no types:
# pyright: reportMissingTypeStubs=false, reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false

import json
import sys
from itertools import repeat
from math import prod
from pathlib import Path
from typing import BinaryIO

from service.domain.architectures import sizes
from service.inspection.parquet import Options
from service.inspection.rows import Batch, Scan

BYTES = {"F32": 4, "U8": 1, "I32": 4}


class Tensors:
    """A safetensors file of y and x, filled batch by batch; memory does not grow with the rows."""

    def __init__(self, file: BinaryIO, scan: Scan) -> None:
        self._file, self._scan = file, scan
        self._y_at = self._x_at = 0

    def write(self, batch: Batch) -> None:
        if not self._x_at:
            self._begin()
        y = batch.labels
        self._y_at = self._write(self._y_at, y.buffers()[1].slice(8 * y.offset, 8 * len(y)))
        self._x_at = self._write(self._x_at, batch.x)

    def _begin(self) -> None:
        """The header, padded so that the data are aligned; labels come first, for they are the widest."""
        rows, shape, dtype = self._scan.rows, sizes(self._scan.inputs.shape), self._scan.inputs.dtype
        labels = 8 * rows
        end = labels + rows * prod(shape) * BYTES[dtype]
        header = json.dumps(
            {
                "y": {"dtype": "I64", "shape": [rows], "data_offsets": [0, labels]},
                "x": {"dtype": dtype, "shape": [rows, *shape], "data_offsets": [labels, end]},
            },
            separators=(",", ":"),
        ).encode()
        header += b" " * (-len(header) % 8)
        self._y_at = self._write(0, len(header).to_bytes(8, "little") + header)
        self._x_at = self._y_at + labels

    def _write(self, at: int, data: bytes) -> int:
        self._file.seek(at)
        return at + self._file.write(data)


def lines(batch: Batch) -> str:
    """The rows of a batch as one line of JSON."""
    subjects = repeat(None) if batch.subjects is None else batch.subjects.to_pylist()
    rows = zip(batch.samples.to_pylist(), subjects, batch.splits.to_pylist(), batch.labels.to_pylist(), strict=False)
    return json.dumps(list(rows), ensure_ascii=False, separators=(",", ":")) + "\n"


def main(path: str, out: str, options: str) -> None:
    """Fill `out`, print the rows, and print the outcome."""
    scan = Scan(Path(path), Options.model_validate_json(options))
    with Path(out).open("wb") as file:
        tensors = Tensors(file, scan)
        for batch in scan.batches():
            tensors.write(batch)
            sys.stdout.write(lines(batch))
    sys.stdout.write(scan.outcome().model_dump_json() + "\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
