"""A data set's file of rows with rows appended: copies of earlier rows under other labels. Memory does not grow."""

import json
from pathlib import Path
from typing import BinaryIO

from torch import Tensor

from worker.mapped import DTYPES, Mapped, mapped
from worker.overlap import AT_A_TIME

CHUNK = 1 << 20


def append(path: Path, out: Path, base: Tensor, labels: Tensor) -> None:
    """Write the rows of `path` to `out`, and behind them the inputs of the rows `base` with these labels.

    Args:
        base: int64 (m,) places in the file.
        labels: int64 (m,).
    """
    held = mapped(path, ("x", "y"))
    x, y = held["x"], held["y"]
    n = len(y) + len(base)
    with path.open("rb") as old, out.open("wb") as new:
        new.write(_head(x, y, n))
        _copy(old, y, new)
        new.write(labels.to(y.dtype).numpy().tobytes())
        _copy(old, x, new)
        for part in x.rows(base).split(max(1, AT_A_TIME // x.row_bytes)):
            new.write(part.numpy().tobytes())


def _head(x: Mapped, y: Mapped, n: int) -> bytes:
    """Of safetensors: its length, and the places of both tensors, labels first; padded so that these are aligned."""
    names = {dtype: name for name, dtype in DTYPES.items()}
    middle = n * y.row_bytes
    told = {
        "y": {"dtype": names[y.dtype], "shape": [n, *y.row], "data_offsets": [0, middle]},
        "x": {"dtype": names[x.dtype], "shape": [n, *x.row], "data_offsets": [middle, middle + n * x.row_bytes]},
    }
    head = json.dumps(told, separators=(",", ":")).encode()
    head += b" " * (-len(head) % 8)
    return len(head).to_bytes(8, "little") + head


def _copy(old: BinaryIO, tensor: Mapped, new: BinaryIO) -> None:
    old.seek(tensor.first)
    left = tensor.nbytes
    while left:
        left -= new.write(old.read(min(CHUNK, left)))
