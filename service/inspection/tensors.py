"""Read a safetensors file without trusting it; runs in the sandbox as `-m service.inspection.tensors`."""
# pyarrow brings no types, and makes most functions of `compute` while it is imported:
# pyright: reportMissingTypeStubs=false, reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false, reportAttributeAccessIssue=false

import json
import sys
from dataclasses import asdict
from itertools import pairwise
from math import prod
from pathlib import Path
from typing import Annotated, BinaryIO

import pyarrow as pa
import pyarrow.compute as pc
from pydantic import Field, TypeAdapter

from service.domain.values import Value
from service.errors import Fault
from service.inspection.weights import Expected

MAX_HEADER = 100_000_000
CHUNK = 4 << 20
BYTES = {
    "F64": 8, "I64": 8, "U64": 8, "F32": 4, "I32": 4, "U32": 4, "F16": 2, "BF16": 2, "I16": 2, "U16": 2,
    "I8": 1, "U8": 1, "BOOL": 1, "F8_E4M3": 1, "F8_E5M2": 1,
}
EXPONENT = {        # a float is finite unless all bits of its exponent are set
    "F64": (pa.int64(), 0x7FF0_0000_0000_0000), "F32": (pa.int32(), 0x7F80_0000),
    "F16": (pa.int16(), 0x7C00), "BF16": (pa.int16(), 0x7F80),
}
PICKLED = "this is a pickle, or a zip archive with one; loading it could run code, so save the weights as safetensors"
Offset = Annotated[int, Field(strict=True, ge=0, lt=2**63)]


class NotSafetensors(Exception):
    """The file as a whole is not what it should be."""


class Tensor(Value):
    """One entry of the header."""

    dtype: str
    shape: tuple[Offset, ...]
    data_offsets: tuple[Offset, Offset]


Header = TypeAdapter(dict[str, Tensor])


def faults_of(path: Path, expected: Expected | None) -> list[Fault]:
    """Everything that makes these weights unusable for this architecture, or for any."""
    try:
        with path.open("rb") as file:
            header, start = _header(file, path.stat().st_size)
            known = {name: (each.dtype, each.shape) for name, each in header.items()} if expected is None else expected
            faults = [*_faults_of_names(header, known), *_faults_of_shapes(header, known)]
            return faults or [fault for name in header for fault in _faults_of_values(file, start, name, header[name])]
    except NotSafetensors as error:
        return [Fault("/file", str(error))]


# ---- the container --------------------------------------------------------------------------------------------------


def _header(file: BinaryIO, size: int) -> tuple[dict[str, Tensor], int]:
    """The entries, in the order of their bytes, and where those begin."""
    head = file.read(8)
    length = int.from_bytes(head, "little")
    if file.read(1) != b"{" or length > min(MAX_HEADER, size - 8):
        pickled = head.startswith((b"PK\x03\x04", *(bytes([0x80, protocol]) for protocol in range(2, 6))))
        raise NotSafetensors(PICKLED if pickled else "this is not a safetensors file, or it is cut off")
    header = _parse(b"{" + file.read(length - 1))
    _check_layout(header, size - 8 - length)
    return header, 8 + length


def _parse(text: bytes) -> dict[str, Tensor]:
    try:
        entries = json.loads(text, object_pairs_hook=_unique)
        if isinstance(entries, dict):
            entries.pop("__metadata__", None)
        header = Header.validate_python(entries)
    except (ValueError, RecursionError):
        raise NotSafetensors("the header is not that of a safetensors file") from None
    return dict(sorted(header.items(), key=lambda item: item[1].data_offsets))


def _unique(pairs: list[tuple[str, object]]) -> dict[str, object]:
    if len(found := dict(pairs)) < len(pairs):
        raise ValueError("a name is there twice")
    return found


def _check_layout(header: dict[str, Tensor], size: int) -> None:
    """Byte for byte, each belongs to exactly one tensor."""
    for tensor in header.values():
        begin, end = tensor.data_offsets
        if end - begin != prod(tensor.shape) * BYTES.get(tensor.dtype, -1):
            raise NotSafetensors("a tensor's dtype, shape and length do not agree")
    edges = [(0, 0), *(tensor.data_offsets for tensor in header.values()), (size, size)]
    if any(before[1] != after[0] for before, after in pairwise(edges)):
        raise NotSafetensors("the tensors leave gaps, overlap, or are cut off")


# ---- the architecture -----------------------------------------------------------------------------------------------


def _faults_of_names(header: dict[str, Tensor], expected: Expected) -> list[Fault]:
    missing = [Fault(_pointer(name), "the tensor is missing") for name in expected if name not in header]
    if foreign := len(header.keys() - expected.keys()):
        missing.append(Fault("/tensors", f"tensors that do not belong to this architecture: {foreign}"))
    return missing


def _faults_of_shapes(header: dict[str, Tensor], expected: Expected) -> list[Fault]:
    return [
        Fault(_pointer(name), f"{_words(found.dtype, found.shape)} where {_words(dtype, shape)} is needed")
        for name, (dtype, shape) in expected.items()
        if (found := header.get(name)) and (found.dtype, found.shape) != (dtype, tuple(shape))
    ]


def _faults_of_values(file: BinaryIO, start: int, name: str, tensor: Tensor) -> list[Fault]:
    if tensor.dtype not in EXPONENT:
        return []
    begin, end = tensor.data_offsets
    file.seek(start + begin)
    sizes = (min(CHUNK, end - at) for at in range(begin, end, CHUNK))
    odd = sum(_odd(file.read(size), tensor.dtype) for size in sizes)
    return [Fault(_pointer(name), f"values that are NaN or infinite: {odd}")] if odd else []


def _odd(data: bytes, dtype: str) -> int:
    """How many of these floats are not finite."""
    kind, bits = EXPONENT[dtype]
    numbers = pa.Array.from_buffers(kind, len(data) // BYTES[dtype], [None, pa.py_buffer(data)])
    exponents = pc.bit_wise_and(numbers, pa.scalar(bits, kind))
    return pc.sum(pc.equal(exponents, pa.scalar(bits, kind))).as_py() or 0


def _pointer(name: str) -> str:
    return "/tensors/" + name.replace("~", "~0").replace("/", "~1")


def _words(dtype: str, shape: tuple[int, ...]) -> str:
    return f"{dtype} [{', '.join(map(str, shape))}]"


def main(path: str, expected: str) -> None:
    """Print the faults of this file as JSON."""
    shapes = TypeAdapter(dict[str, tuple[str, tuple[int, ...]]] | None).validate_json(expected)
    json.dump([asdict(fault) for fault in faults_of(Path(path), shapes)], sys.stdout)


if __name__ == "__main__":
    main(*sys.argv[1:])
