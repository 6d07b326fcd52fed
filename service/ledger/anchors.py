"""Anchors: checkpoints written down where the operator of this ledger cannot change them unseen.

    file:///folder                      a file for each checkpoint, written once; the folder must exist
    s3://bucket/prefix?retain_days=N    an object for each, written once; with N nobody can remove it for so many days;
                                        endpoint=URL (or amazon) and profile=NAME where it is not the store's account
    https://host/path                   the note is posted as text/plain, to be kept there

An anchor is known by a digest of its URL, which may hold a secret. One that is away is tried again later.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from hashlib import sha256
from pathlib import Path
from typing import Protocol, TypedDict
from urllib.parse import parse_qsl, unquote, urlsplit

import httpx
import structlog
from pydantic import SecretStr
from sqlalchemy import Engine

from service.db import anchored, ledger
from service.db.session import transaction
from service.errors import BadInput, ExpungeError, LedgerBroken, Unavailable
from service.ledger.untrusted import TEXT_LIMIT
from service.storage import FileStore, Named, S3Store

log = structlog.get_logger()
ANCHOR = 0x616E_6368_6F72       # the advisory lock of whoever writes to them: "anchor"
PATIENCE_S = 10.0
FOLDER = "checkpoints"


class Place(Protocol):
    """Where notes are written down."""

    def keep(self, size: int, note: str) -> None:
        """Write it down, or raise Unavailable; another note of this size is there: LedgerBroken."""
        ...

    def notes(self) -> Iterator[tuple[str, str]] | None:
        """(size as it was named, text) of all that was written down; None where nothing can be read back."""
        ...


@dataclass(frozen=True, slots=True)
class Anchor:
    """A place outside, and the name under which it may be spoken of."""

    scheme: str
    digest: str
    place: Place = field(repr=False)

    def __str__(self) -> str:
        return f"{self.scheme} anchor {self.digest}"


# ---- places ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Shelf:
    """Notes as objects of their own: the first that has a name keeps it."""

    objects: Named
    folder: Path | None = None      # that must be there: an unmounted disk is no anchor

    def keep(self, size: int, note: str) -> None:
        self._be_there()
        self.objects.put(str(size), note.encode())
        if self.objects.get(str(size), limit=TEXT_LIMIT) != note.encode():
            raise LedgerBroken(f"An anchor holds another checkpoint of {size} entries")

    def notes(self) -> Iterator[tuple[str, str]]:
        self._be_there()
        for name in self.objects.names():
            yield name, self.objects.get(name, limit=TEXT_LIMIT).decode("utf-8", "replace")

    def _be_there(self) -> None:
        if self.folder is not None and not self.folder.is_dir():
            raise Unavailable("the folder of an anchor does not exist")


@dataclass(frozen=True, slots=True)
class Webhook:
    """Somebody who keeps what is posted to him; nothing can be read back."""

    url: str = field(repr=False)

    def keep(self, size: int, note: str) -> None:  # noqa: ARG002  the note says its size
        headers = {"Content-Type": "text/plain; charset=utf-8"}
        try:
            answer = httpx.post(
                self.url, content=note.encode(), headers=headers, timeout=PATIENCE_S, follow_redirects=False
            )
        except httpx.HTTPError as error:
            raise Unavailable(f"a webhook does not answer ({type(error).__name__})") from None
        if not answer.is_success:
            raise Unavailable(f"a webhook answered {answer.status_code}")

    def notes(self) -> None:
        return None


# ---- settings -------------------------------------------------------------------------------------------------------


def read(setting: SecretStr | None, *, endpoint: str | None = None) -> tuple[Anchor, ...]:
    """The anchors of EXPUNGE_ANCHORS.

    Args:
        endpoint: of an S3 server that is not Amazon's.
    Raises:
        BadInput: one of them is none; says which by its number.
    """
    urls = [each.strip() for each in (setting.get_secret_value() if setting else "").split(",") if each.strip()]
    if len(set(urls)) != len(urls):
        raise BadInput("EXPUNGE_ANCHORS names an anchor twice")
    return tuple(_anchor(url, number, endpoint) for number, url in enumerate(urls, start=1))


def _anchor(url: str, number: int, endpoint: str | None) -> Anchor:
    try:
        parts = urlsplit(url)
        httpx.URL(url)
        return Anchor(parts.scheme, sha256(url.encode()).hexdigest()[:16], _place(url, endpoint))
    except BadInput as unusable:
        why = unusable.detail
    except (ValueError, httpx.InvalidURL):      # whose own sentences repeat what was written
        why = "it is no URL"
    raise BadInput(f"Anchor {number} of EXPUNGE_ANCHORS is not usable: {why}")


def _place(url: str, endpoint: str | None) -> Place:
    parts = urlsplit(url)
    match parts.scheme:
        case "file":
            return _folder(parts.netloc, unquote(parts.path))
        case "s3":
            bucket, options = _named(parts.netloc, "a bucket"), _options(parts.query, endpoint)
            return Shelf(Named(S3Store(bucket, parts.path, **options), FOLDER))
        case "http" | "https":
            _named(parts.hostname, "a host")
            return Webhook(url)
        case _:
            raise BadInput("it begins with file:///, s3:// or https://")


def _folder(host: str, path: str) -> Shelf:
    if host or len(path) < 2:
        raise BadInput("after file:// follows the absolute path of a folder")
    return Shelf(Named(FileStore(Path(path)), FOLDER), Path(path))


def _named(name: str | None, what: str) -> str:
    if not name:
        raise BadInput(f"it does not name {what}")
    return name


class _Options(TypedDict):
    endpoint: str | None
    profile: str | None
    retain_days: int | None


def _options(query: str, endpoint: str | None) -> _Options:
    told = dict(parse_qsl(query, keep_blank_values=True))
    days, server, profile = told.pop("retain_days", None), told.pop("endpoint", endpoint), told.pop("profile", None)
    if told or (days is not None and not (days.isascii() and days.isdigit() and 0 < int(days) <= 36_500)):
        raise BadInput("its options are retain_days, from 1 to 36500, endpoint and profile")
    if server not in (None, endpoint, "amazon") and not urlsplit(server).hostname:
        raise BadInput("its endpoint is the URL of an S3 server, or amazon")
    return {
        "endpoint": None if server == "amazon" else server, "profile": profile,
        "retain_days": None if days is None else int(days),
    }


# ---- anchoring ------------------------------------------------------------------------------------------------------


def anchor(engine: Engine, anchors: Sequence[Anchor], *, every: timedelta) -> int:
    """Write the newest checkpoint down at every anchor that is due; returns at how many it was."""
    if not anchors:
        return 0
    with ledger.alone(engine, ANCHOR) as mine:
        return sum(_keep(engine, each, every) for each in anchors) if mine else 0


def _keep(engine: Engine, at: Anchor, every: timedelta) -> bool:
    with transaction(engine) as tx:
        due = anchored.due(tx, at.digest, every=every)
    if due is None:
        return False
    try:
        at.place.keep(due.size, due.note)
    except ExpungeError as error:       # the other anchors, and the next checkpoint, do not wait for this one
        log.warning("anchor.failed", anchor=str(at), error=error.slug, detail=error.detail)
        return False
    with transaction(engine) as tx:
        anchored.add(tx, at.digest, due.size)
    return True
