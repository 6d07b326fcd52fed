"""Rows that leave the files of a data set: zeros in the tensors, where others keep their places; nothing in the file.

Memory does not grow with the rows of either.
"""

from array import array
from collections.abc import Sequence
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from service import sandbox
from service.errors import BadInput, InvalidDataset
from worker.ingest import GENEROUS
from worker.mapped import mapped

_COUNTS: TypeAdapter[tuple[int, int]] = TypeAdapter(tuple[int, int])


def blank(path: Path, rows: Sequence[int]) -> None:
    """Overwrite these rows of x and y with zeros, in the file itself.

    Raises:
        InvalidDataset: it is no file of rows.
    """
    held = mapped(path, ("x", "y"))
    with path.open("r+b") as file:
        for tensor in held.values():
            nothing = bytes(tensor.row_bytes)
            for row in rows:
                file.seek(tensor.first + row * tensor.row_bytes)
                file.write(nothing)


def without(path: Path, out: Path, places: Sequence[int], *, limits: sandbox.Limits = GENEROUS) -> None:
    """Write the Parquet file `path` anew to `out`, less the rows at these places; a child in the sandbox does it.

    Raises:
        BadInput: the file cannot be read, or not within limits.
        InvalidDataset: it has not so many rows.
    """
    listed = out.with_name("places")
    listed.write_bytes(array("q", places).tobytes())
    files = (str(each.absolute()) for each in (path, out, listed))
    try:
        there, left = _COUNTS.validate_python(sandbox.run("service.inspection.rewrite", *files, limits=limits))
    except ValidationError:
        raise BadInput("the file could not be parsed within limits") from None
    if there - left != len(places):
        raise InvalidDataset("the file of the data set lacks rows that its index has")
