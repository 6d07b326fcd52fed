"""Bytes from a stranger: files, texts, base64, JSON and archives of bounded size. Part of the offline verifier."""

import json
import re
import struct
import zlib
from base64 import b64decode, b64encode
from collections.abc import Mapping
from math import isinf
from pathlib import Path
from typing import TypeGuard, TypeVar

TEXT_LIMIT, JSON_LIMIT, FILE_LIMIT, BUNDLE_LIMIT = 2**16, 2**20, 2**26, 2**27  # bytes
JSON_DEPTH = 64             # at least so deep is read, and never twice as deep
JSON_INTEGERS = 2**53       # beyond it readers of JSON differ
_CONTROL = re.compile(r"[\x00-\x09\x0b-\x1f\x7f]")
_STRING = re.compile(r'"[^"\\]*+(?:\\.[^"\\]*+)*+"?', re.DOTALL)     # possessive: hostile quotes cost no time
_NO_BRACKET = re.compile(r"[^\[\]{}]+")
_DECODER = json.JSONDecoder()
T = TypeVar("T")


class RefusedError(Exception):
    """Why something was refused, repeating nothing of it. The verifier travels alone, so this has no parent here."""


def read(path: Path, limit: int) -> bytes:
    """A regular file's bytes, if there are not too many."""
    try:
        if not path.is_file():
            raise RefusedError("a file that was named does not exist, or is no plain file")
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
    if _CONTROL.search(decoded):
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
    """JSON of bounded size and depth, in which no name is twice in an object and every number and text is exact."""
    try:
        decoded = at_most(JSON_LIMIT, data).decode()
        if _is_deep(decoded):
            raise RefusedError("a JSON file is too deep")
        found = json.loads(
            decoded, object_pairs_hook=_unique, parse_int=_integer, parse_float=_real, parse_constant=_no_constant
        )
        if "\\u" in decoded:
            json.dumps(found, ensure_ascii=False).encode()       # half of a surrogate pair is no text
    except (ValueError, RecursionError) as error:
        raise RefusedError("a JSON file is malformed") from error
    return found


def as_written(found: object, data: bytes) -> None:
    """Refuses JSON of ASCII names and no floats that is not canonical, or says more than what was found in it."""
    if json.dumps(found, ensure_ascii=False, separators=(",", ":"), sort_keys=True).encode() != data:
        raise RefusedError("a JSON file is not as it was written, or says more")


def _is_deep(decoded: str) -> bool:
    """Takes the innermost brackets away, again and again; what has brackets that do not match is left over, too."""
    brackets, before, rounds = _NO_BRACKET.sub("", _STRING.sub("", decoded)), -1, 0
    while len(brackets) != before and rounds < JSON_DEPTH:
        before, rounds = len(brackets), rounds + 1
        brackets = brackets.replace("[]", "").replace("{}", "")
    return bool(brackets)


def _integer(written: str) -> int:
    number = int(written)
    if abs(number) >= JSON_INTEGERS:
        raise ValueError("an integer is too large")
    return number


def _real(written: str) -> float:
    number = float(written)
    if isinf(number):
        raise ValueError("a number is too large")
    return number


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
        found = found.get(name) if is_object(found) else None
    return found


def span_of(written: str, path: str) -> str:
    """The text of the value at a dotted path, as it stands in a JSON text that has no spaces between its tokens."""
    start = 0
    try:
        for name in path.split("."):
            start = _value_of(written, start, name)
        return written[start : _DECODER.raw_decode(written, start)[1]]
    except (ValueError, IndexError) as error:
        raise RefusedError(f"{path} is missing, or the JSON is not canonical") from error


def _value_of(written: str, start: int, name: str) -> int:
    """Where the value of a name begins in the object that begins at `start`."""
    found, end = "", start
    while found != name:
        found, end = _DECODER.raw_decode(written, end + 1)      # past the brace, or the comma
        start, end = end + 1, _DECODER.raw_decode(written, end + 1)[1]
    return start


def field(value: object, path: str, kind: type[T]) -> T:
    """The value at a dotted path, which must be of exactly this type."""
    found = at(value, path)
    if isinstance(found, kind) and type(found) is kind:
        return found
    raise RefusedError(f"{path} is missing or of another type")


def items(value: object, path: str) -> list[object]:
    """The elements of the list at a dotted path."""
    found = at(value, path)
    if is_list(found):
        return found
    raise RefusedError(f"{path} is missing or of another type")


def is_object(value: object) -> TypeGuard[dict[str, object]]:
    """JSON's objects have text for names."""
    return isinstance(value, dict)


def is_list(value: object) -> TypeGuard[list[object]]:
    """Of anything."""
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
    body += directory + b"PK\5\6" + struct.pack("<4H2IH", *counts)
    return bytes(body)


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
