"""Bytes from a stranger: files, texts, base64, JSON and archives of bounded size. Part of the offline verifier."""

import json
import re
import struct
import zlib
from base64 import b64decode, b64encode
from collections.abc import Mapping
from pathlib import Path
from typing import TypeGuard, TypeVar

TEXT_LIMIT, JSON_LIMIT, FILE_LIMIT, BUNDLE_LIMIT = 2**16, 2**23, 2**26, 2**27  # bytes
JSON_DEPTH = 64
T = TypeVar("T")


class RefusedError(Exception):
    """Why something was refused, repeating nothing of it. The verifier travels alone, so this has no parent here."""


def read(path: Path, limit: int) -> bytes:
    """A regular file's bytes, if there are not too many."""
    try:
        if not path.is_file():
            raise RefusedError("a file that was named does not exist")
        with path.open("rb") as file:
            return at_most(limit, file.read(limit + 1))
    except (OSError, ValueError) as error:
        raise RefusedError("a file cannot be read") from error


def at_most(limit: int, data: bytes) -> bytes:
    """The same bytes, if there are not too many."""
    if len(data) > limit:
        raise RefusedError(f"something is larger than {limit} bytes")
    return data


def text(data: bytes) -> str:
    """UTF-8 with no control character but the line feed."""
    try:
        decoded = at_most(TEXT_LIMIT, data).decode()
    except UnicodeDecodeError as error:
        raise RefusedError("a text is not UTF-8") from error
    if re.search(r"[\x00-\x09\x0b-\x1f\x7f]", decoded):
        raise RefusedError("a text has control characters")
    return decoded


def unbase64(encoded: str) -> bytes:
    """Standard base64, in the one spelling that an encoder makes."""
    try:
        data = b64decode(encoded, validate=True)
    except ValueError as error:
        raise RefusedError("something is not base64") from error
    if b64encode(data).decode() != encoded:
        raise RefusedError("base64 has spare bits set")
    return data


# ---- JSON -----------------------------------------------------------------------------------------------------------


def read_json(data: bytes) -> object:
    """JSON of bounded size and depth, with no name twice in an object and no NaN."""
    try:
        decoded = at_most(JSON_LIMIT, data).decode()
        if _depth(decoded) > JSON_DEPTH:
            raise RefusedError("a JSON file is too deep")
        return json.loads(decoded, object_pairs_hook=_unique, parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        raise RefusedError("a JSON file is malformed") from error


def _depth(decoded: str) -> int:
    depth = deepest = 0
    for mark in re.finditer(r"[\[\]{}]", re.sub(r'"[^"\\]*(?:\\.[^"\\]*)*"', "", decoded)):
        depth += 1 if mark.group() in "[{" else -1
        deepest = max(deepest, depth)
    return deepest


def _unique(pairs: list[tuple[str, object]]) -> dict[str, object]:
    if len(dict(pairs)) != len(pairs):
        raise ValueError("a name occurs twice")
    return dict(pairs)


def _no_constant(_: str) -> object:
    raise ValueError("not a number")


def at(value: object, path: str) -> object:
    """Whatever is at a dotted path, or None."""
    found = value
    for name in path.split("."):
        found = found.get(name) if _is_object(found) else None
    return found


def field(value: object, path: str, kind: type[T]) -> T:
    """The value at a dotted path, which must be of exactly this type."""
    found = at(value, path)
    if isinstance(found, kind) and type(found) is kind:
        return found
    raise RefusedError(f"{path} is missing or of another type")


def items(value: object, path: str) -> list[object]:
    """The elements of the list at a dotted path."""
    found = at(value, path)
    if _is_list(found):
        return found
    raise RefusedError(f"{path} is missing or of another type")


def _is_object(value: object) -> TypeGuard[dict[str, object]]:
    return isinstance(value, dict)


def _is_list(value: object) -> TypeGuard[list[object]]:
    return isinstance(value, list)


# ---- archives -------------------------------------------------------------------------------------------------------


def pack(members: Mapping[str, bytes]) -> bytes:
    """A zip of stored members whose bytes depend on names and contents alone (PKWARE APPNOTE 4.3)."""
    body, directory = bytearray(), bytearray()
    for name, data in members.items():
        sizes = (zlib.crc32(data), len(data), len(data), len(name), 0)
        entry = struct.pack("<5H3I2H", 20, 0, 0, 0, 33, *sizes)     # version 2.0, stored, 1980-01-01
        place = struct.pack("<3H2I", 0, 0, 0, 0o100644 << 16, len(body))
        directory += b"PK\1\2\x14\3" + entry + place + name.encode("ascii")
        body += b"PK\3\4" + entry + name.encode("ascii") + data
    counts = (0, 0, len(members), len(members), len(directory), len(body), 0)
    return bytes(body + directory + b"PK\5\6" + struct.pack("<4H2IH", *counts))


def unpack(data: bytes, limits: Mapping[str, int]) -> dict[str, bytes]:
    """The members of an archive that `pack` made; any other is refused, and nothing is ever inflated.

    Args:
        limits: the names that may occur, and how many bytes each may have.
    """
    members: dict[str, bytes] = {}
    at = 0
    while data[at : at + 4] == b"PK\3\4" and len(data) >= at + 30:
        size, length = struct.unpack("<I4xH", data[at + 18 : at + 28])
        name, start = data[at + 30 : at + 30 + length].decode("ascii", "replace"), at + 30 + length
        if name not in limits or name in members:
            raise RefusedError("the archive has a member that is not expected")
        members[name] = at_most(limits[name], data[start : start + size])
        at = start + size
    if pack(members) != data:
        raise RefusedError("this is not such an archive, or it was changed, cut or packed anew")
    return members
