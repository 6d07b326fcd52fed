"""From a customer's Parquet file to the tensors of a data set and the rows of its index."""

import json
from collections.abc import Generator
from pathlib import Path
from typing import Annotated

from pydantic import Field, TypeAdapter, ValidationError

from service import sandbox
from service.errors import BadInput
from service.inspection.parquet import MAX_CLASSES, Facts, Options, parse_outcome

Row = tuple[int, str, str | None, int, int]     # row, sample_id, subject_id, code of the split, label
Batch = list[Row]
GENEROUS = sandbox.Limits(cpu_s=3600, wall_s=7200, memory_mb=1024, file_mb=1 << 18)

_Told = tuple[str, str | None, Annotated[int, Field(ge=0, le=2)], Annotated[int, Field(ge=0, lt=MAX_CLASSES)]]
_ROWS = TypeAdapter(list[_Told])


def ingest(
    path: Path, out: Path, options: Options, *, limits: sandbox.Limits = GENEROUS
) -> Generator[Batch, None, Facts]:
    """Write the tensors x and y to `out` (safetensors, in row order) and yield the rows, once, in the same order.

    Nothing is valid before the end: InvalidDataset may come after many batches, and takes `out` away again.
    Returns the facts, as `inspect_parquet` does.
    """
    out.unlink(missing_ok=True)
    try:
        facts = yield from _rows(path, out, options, limits)
    except BaseException:
        out.unlink(missing_ok=True)
        raise
    return facts


def _rows(path: Path, out: Path, options: Options, limits: sandbox.Limits) -> Generator[Batch, None, Facts]:
    files = str(path.absolute()), str(out.absolute())
    row, last = 0, b""
    for line in sandbox.lines("service.inspection.unpack", *files, options.model_dump_json(), limits=limits):
        if not line.startswith(b"["):
            last = line
            continue
        told = _parse(line)
        yield [(row + i, *one) for i, one in enumerate(told)]
        row += len(told)
    return _outcome(last)


def _parse(line: bytes) -> list[_Told]:
    try:
        return _ROWS.validate_json(line)
    except ValidationError:
        raise _led_astray() from None


def _outcome(line: bytes) -> Facts:
    try:
        return parse_outcome(json.loads(line)).unwrap()
    except (ValueError, RecursionError):
        raise _led_astray() from None


def _led_astray() -> BadInput:
    return BadInput("the file could not be parsed within limits")
