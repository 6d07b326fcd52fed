"""The store: content-addressed, write-once blobs in a folder or in an S3 bucket. Only this file knows boto3."""
# boto3 makes its methods while it runs, so no checker can know them:
# pyright: reportMissingTypeStubs=false, reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false

import hashlib
import io
import re
import shutil
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import BinaryIO, Protocol
from urllib.parse import unquote, urlsplit

from service.drafts import DRAFT, appearing
from service.errors import BadInput, Damaged, NotFound, Unavailable

KEY = re.compile(r"sha256/([0-9a-f]{2})/(\1[0-9a-f]{62})")
NAME = re.compile(r"[a-z0-9]+(?:[./]?[a-z0-9]+)*(?:\.p/[0-9]+)?")
CHUNK = 1 << 20
NAMED_LIMIT = 1 << 25
PART = 64 << 20     # a larger blob goes to S3 in parts of this size


class Blobs(Protocol):
    """Where bytes lie under a name; an adapter knows neither keys nor digests."""

    def write(self, name: str, data: BinaryIO, *, public: bool = False) -> None:
        """Store all of `data`, or nothing; `public` is for other users of this machine to read as well."""
        ...

    def replace(self, name: str, data: BinaryIO) -> None:
        """Store all of `data` in the place of what lies there, so that a reader sees the one or the other; public."""
        ...

    def read(self, name: str) -> Iterator[bytes]:
        """Open at once, and stream; NotFound if nothing lies there."""
        ...

    def has(self, name: str) -> bool: ...

    def names(self, folder: str) -> Iterator[str]:
        """What lies in a folder and below, by names relative to it."""
        ...

    def remove(self, name: str) -> None:
        """Erase, with every older version; nothing happens if nothing lies there."""
        ...


class Named:
    """Public objects under names of their own in one folder: what a static file server serves."""

    def __init__(self, blobs: Blobs, folder: str) -> None:
        self._blobs, self._folder = blobs, folder

    def put(self, name: str, data: bytes) -> None:
        """Store an object, once: what lies there already stays."""
        if not self.has(name):
            self._blobs.write(self._at(name), io.BytesIO(data), public=True)

    def replace(self, name: str, data: bytes) -> None:
        """Store an object in the place of what lies there."""
        self._blobs.replace(self._at(name), io.BytesIO(data))

    def get(self, name: str, *, limit: int = NAMED_LIMIT) -> bytes:
        """All of an object; NotFound if there is none, Damaged if it is longer than `limit` bytes."""
        data = b""
        for chunk in self._blobs.read(self._at(name)):
            data += chunk
            if len(data) > limit:
                raise Damaged(f"{name} is longer than what was written there")
        return data

    def has(self, name: str) -> bool:
        return self._blobs.has(self._at(name))

    def names(self) -> Iterator[str]:
        return self._blobs.names(self._folder)

    def remove(self, name: str) -> None:
        self._blobs.remove(self._at(name))

    def _at(self, name: str) -> str:
        if not NAME.fullmatch(name):
            raise BadInput("a name in the store is of lower-case letters, digits, dots and slashes")
        return f"{self._folder}/{name}"


class Store:
    """Blobs named by the SHA-256 of their content, which every read verifies."""

    def __init__(self, blobs: Blobs) -> None:
        self._blobs = blobs

    def named(self, folder: str) -> Named:
        """The door to a folder beside them, for what is not named by its content."""
        return Named(self._blobs, folder)

    def put(self, path: Path) -> str:
        """Store a file and return its key; storing it again changes nothing."""
        with path.open("rb") as data:
            return self._put(data)

    def put_bytes(self, data: bytes) -> str:
        return self._put(io.BytesIO(data))

    def _put(self, data: BinaryIO) -> str:
        digest = hashlib.sha256()
        for chunk in iter(lambda: data.read(CHUNK), b""):
            digest.update(chunk)
        key = key_of(digest.hexdigest())
        if not self._blobs.has(key):
            data.seek(0)
            self._blobs.write(key, data)
        return key

    def open(self, key: str) -> Iterator[bytes]:
        """Stream a blob; raises NotFound at once, and Damaged after the last chunk if the digest is another."""
        return _verified(self._blobs.read(_checked(key)), key)

    def fetch(self, key: str, to: Path) -> None:
        """Copy a blob to `to`, which appears only when it is complete and verified."""
        source = self.open(key)
        with appearing(to) as target:
            for chunk in source:
                target.write(chunk)

    def exists(self, key: str) -> bool:
        return self._blobs.has(_checked(key))

    def delete(self, key: str) -> None:
        """Erase a blob; doing it twice is harmless."""
        self._blobs.remove(_checked(key))


class FileStore:
    """Blobs as read-only files below a folder."""

    def __init__(self, root: Path) -> None:
        self._root = root

    def write(self, name: str, data: BinaryIO, *, public: bool = False) -> None:
        path = self._root / name
        with self._answers(name):
            path.parent.mkdir(parents=True, exist_ok=True)
            with appearing(path, mode=0o444 if public else 0o400) as target:
                shutil.copyfileobj(data, target, CHUNK)

    def replace(self, name: str, data: BinaryIO) -> None:
        self.write(name, data, public=True)         # a rename over what lies there

    def read(self, name: str) -> Iterator[bytes]:
        with self._answers(name):
            return self._chunks((self._root / name).open("rb"), name)

    def _chunks(self, source: BinaryIO, name: str) -> Generator[bytes]:
        with source, self._answers(name):
            yield from iter(lambda: source.read(CHUNK), b"")

    def has(self, name: str) -> bool:
        with self._answers(name):
            return (self._root / name).is_file()

    def names(self, folder: str) -> Iterator[str]:
        root = self._root / folder
        with self._answers(folder):
            files = (path for path in root.rglob("*") if path.is_file() and not path.name.startswith(DRAFT))
            yield from (path.relative_to(root).as_posix() for path in files)

    def remove(self, name: str) -> None:
        with self._answers(name):
            (self._root / name).unlink(missing_ok=True)

    @contextmanager
    def _answers(self, name: str) -> Generator[None]:
        try:
            yield
        except FileNotFoundError:
            raise _missing(name) from None
        except OSError as error:
            raise Unavailable("the folder of the store cannot be read or written") from error


class S3Store:
    """Blobs as objects of one bucket, below a prefix. Credentials come the usual boto3 way."""

    def __init__(
        self, bucket: str, prefix: str = "", *, endpoint: str | None = None, retain_days: int | None = None,
        profile: str | None = None,
    ) -> None:
        import boto3
        from botocore.config import Config
        from botocore.exceptions import BotoCoreError, ClientError, ProfileNotFound

        style = {"addressing_style": "path"} if endpoint else {}
        retries = {"total_max_attempts": 3, "mode": "standard"}
        config = Config(connect_timeout=5, read_timeout=60, retries=retries, s3=style)
        try:
            self._s3 = boto3.Session(profile_name=profile).client("s3", endpoint_url=endpoint, config=config)
        except ProfileNotFound:
            raise BadInput("no profile of this name is configured for the S3 store") from None
        self._refused, self._away = ClientError, BotoCoreError
        self._bucket, self._prefix, self._retain_days = bucket, prefix.strip("/"), retain_days

    def write(self, name: str, data: BinaryIO, *, public: bool = False) -> None:    # noqa: ARG002  the bucket decides
        with self._answers(name, "412", "PreconditionFailed"):      # 412: somebody was faster, with the same bytes
            if _size(data) <= PART:
                self._s3.put_object(Body=data, IfNoneMatch="*", **self._locked(), **self._at(name))
            else:
                self._write_parts(name, data)

    def replace(self, name: str, data: BinaryIO) -> None:
        with self._answers(name):
            self._s3.put_object(Body=data, **self._at(name))

    def _locked(self) -> dict[str, object]:
        """Until then nobody can remove the object, the owner of the account included."""
        if self._retain_days is None:
            return {}
        until = datetime.now(UTC) + timedelta(days=self._retain_days)
        return {"ObjectLockMode": "COMPLIANCE", "ObjectLockRetainUntilDate": until}

    def _write_parts(self, name: str, data: BinaryIO) -> None:
        upload = self._at(name) | {"UploadId": self._s3.create_multipart_upload(**self._at(name))["UploadId"]}
        try:
            parts = [
                {"PartNumber": number, "ETag": self._s3.upload_part(PartNumber=number, Body=part, **upload)["ETag"]}
                for number, part in enumerate(iter(lambda: data.read(PART), b""), start=1)
            ]
            self._s3.complete_multipart_upload(MultipartUpload={"Parts": parts}, IfNoneMatch="*", **upload)
        except BaseException:
            self._s3.abort_multipart_upload(**upload)       # parts without an object would be billed for ever
            raise

    def read(self, name: str) -> Iterator[bytes]:
        with self._answers(name):
            return self._chunks(self._s3.get_object(**self._at(name))["Body"], name)

    def _chunks(self, body: BinaryIO, name: str) -> Generator[bytes]:
        with body, self._answers(name):
            yield from iter(lambda: body.read(CHUNK), b"")

    def has(self, name: str) -> bool:
        try:
            with self._answers(name):
                self._s3.head_object(**self._at(name))
        except NotFound:
            return False
        return True

    def names(self, folder: str) -> Iterator[str]:
        root = self._at(f"{folder}/")["Key"]
        with self._answers(folder):
            for page in self._s3.get_paginator("list_objects_v2").paginate(Bucket=self._bucket, Prefix=root):
                yield from (each["Key"].removeprefix(root) for each in page.get("Contents", ()))

    def remove(self, name: str) -> None:
        at = self._at(name)
        with self._answers(name):
            pages = self._s3.get_paginator("list_object_versions").paginate(Bucket=self._bucket, Prefix=at["Key"])
            found = [v for page in pages for kind in ("Versions", "DeleteMarkers") for v in page.get(kind, ())]
            for version in (each for each in found if each["Key"] == at["Key"]):    # others only begin like it
                self._s3.delete_object(VersionId=version["VersionId"], **at)

    def _at(self, name: str) -> dict[str, str]:
        return {"Bucket": self._bucket, "Key": f"{self._prefix}/{name}" if self._prefix else name}

    @contextmanager
    def _answers(self, name: str, *harmless: str) -> Generator[None]:
        try:
            yield
        except self._refused as refused:
            code = str(refused.response.get("Error", {}).get("Code"))
            if code in {"NoSuchKey", "404"}:        # GET says the one, HEAD the other
                raise _missing(name) from None
            if code not in harmless:
                raise Unavailable(f"the S3 store refused the operation ({code})") from refused
        except self._away as away:
            raise Unavailable("the S3 store does not answer") from away


def open_store(url: str, *, endpoint: str | None = None) -> Store:
    """Open `file:///folder` or `s3://bucket/prefix`; `endpoint` is an S3 server that is not Amazon's."""
    parts = urlsplit(url)
    match parts.scheme:
        case "file":
            return Store(FileStore(Path(unquote(parts.path))))
        case "s3":
            return Store(S3Store(parts.netloc, parts.path, endpoint=endpoint))
        case _:
            raise BadInput("a store URL begins with file:// or s3://")


def key_of(digest: str) -> str:
    """The key of the content with this SHA-256, in hex."""
    return f"sha256/{digest[:2]}/{digest}"


def digest_of(key: str) -> str:
    """The SHA-256, in hex, that a key is made of."""
    return _checked(key).rsplit("/", 1)[-1]


def _checked(key: str) -> str:
    if not KEY.fullmatch(key):
        raise BadInput("a key of the store is sha256/, two hex digits, a slash, and the 64 hex digits of the digest")
    return key


def _missing(name: str) -> NotFound:
    return NotFound(f"nothing lies in the store under {name}")


def _verified(chunks: Iterator[bytes], key: str) -> Generator[bytes]:
    digest = hashlib.sha256()
    for chunk in chunks:
        digest.update(chunk)
        yield chunk
    if key_of(digest.hexdigest()) != key:
        raise Damaged(f"the content of {key} no longer has this digest")


def _size(data: BinaryIO) -> int:
    here = data.tell()
    end = data.seek(0, io.SEEK_END)
    data.seek(here)
    return end - here
