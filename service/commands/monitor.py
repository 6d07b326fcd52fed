"""`expunge ledger monitor`.

Exit codes: 0 all is as it was; 1 something differs; 2 the database, the store or an anchor could not be looked at;
3 the arguments or the settings are not usable. With --every, that of the last look.
"""

import signal
import sys
import threading
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from json import dumps
from pathlib import Path

from sqlalchemy import Engine
from sqlalchemy.exc import DBAPIError

from service.commands.database import url
from service.db import checks
from service.db.session import connect, transaction
from service.drafts import appearing
from service.errors import BadInput, ExpungeError, UnusableDatabase
from service.ledger import anchors, gauges
from service.ledger.checkpoints import Vkey, read_keys
from service.ledger.keys import PUBLIC_FILE
from service.ledger.monitor import Finding, Monitor
from service.ledger.publishing import FOLDER
from service.ledger.untrusted import TEXT_LIMIT, RefusedError, read, text
from service.settings import Settings
from service.storage import Named, open_store

OK, DIFFERS, AWAY, UNUSABLE = 0, 1, 2, 3


def monitor(
    *,
    every: float | None = None,
    textfile: Path | None = None,
    key: Path | None = None,
    signatures: bool = False,
    tiles: bool = False,
    json: bool = False,
) -> None:
    """Replay the whole ledger, and hold it against its checkpoints, the published copy and the anchors.

    Args:
        every: seconds between one look and the next; without it, one look.
        textfile: where to write the gauges for Prometheus' node exporter.
        key: the public keys to trust; expunge.pub in the key folder unless given.
        signatures: check that of every entry too, which takes much longer.
        tiles: compare every published tile too.
        json: print one JSON object for each look.
    """
    try:
        if every is not None and not 1 <= every <= threading.TIMEOUT_MAX:
            raise BadInput("--every is a number of seconds, at least 1")
        watch = _watch(Settings(), key, textfile, signatures=signatures, tiles=tiles, as_json=json)
    except (ExpungeError, RefusedError) as error:
        print(f"{error}", file=sys.stderr)
        sys.exit(UNUSABLE)
    stop, code = _on_signal(), watch.look()
    while every is not None and not stop.wait(every):
        code = watch.look()
    sys.exit(code)


@dataclass(frozen=True, slots=True)
class _Watch:
    """One monitor, and where its findings go."""

    engine: Engine
    log: Named
    anchors: tuple[anchors.Anchor, ...]
    key: Path
    textfile: Path | None
    signatures: bool
    tiles: bool
    as_json: bool

    def look(self) -> int:
        """Look once, tell everybody; the exit code."""
        began = time.monotonic()
        try:
            finding = self._compare()
            self._tell(finding, time.monotonic() - began)
        except (DBAPIError, UnusableDatabase) as error:
            print(f"The database could not be looked at ({type(error).__name__})", file=sys.stderr, flush=True)
            return AWAY
        except RefusedError as refusal:
            print(f"The key file is not usable: {refusal}", file=sys.stderr, flush=True)
            return UNUSABLE
        except OSError as error:
            print(f"The text file cannot be written ({type(error).__name__})", file=sys.stderr, flush=True)
            return AWAY
        return DIFFERS if finding.fault else AWAY if finding.away else OK

    def _compare(self) -> Finding:
        """A rotation may come between reading the keys and reading what they signed: then look again."""
        while True:
            keys = _keys(self.key)
            finding = Monitor(self.engine, self.log, keys, self.anchors, self.signatures, self.tiles).look()
            if finding.fault is None or keys == _keys(self.key):
                return finding

    def _tell(self, finding: Finding, seconds: float) -> None:
        print(_json(finding, seconds) if self.as_json else _sentence(finding, seconds), flush=True)
        if finding.away and finding.fault is None:
            return                              # the gauges keep what the last whole look found, and when
        if self.textfile is not None:
            with appearing(self.textfile, mode=0o644) as file:
                file.write(self._gauges(finding).encode())
        self._write_down(finding, seconds)

    def _gauges(self, finding: Finding) -> str:
        with transaction(self.engine) as tx:
            return gauges.write(
                [*gauges.found(size=finding.size, ok=finding.fault is None), *gauges.of_ledger(tx)]
            )

    def _write_down(self, finding: Finding, seconds: float) -> None:
        try:
            with transaction(self.engine) as tx:
                checks.add(tx, size=finding.size, fault=finding.fault, seconds=seconds)
        except DBAPIError as error:             # who may only read has the answer all the same
            print(f"What was found could not be written down ({type(error).__name__})", file=sys.stderr, flush=True)


def _sentence(finding: Finding, seconds: float) -> str:
    looked = f"{finding.size} entries, {finding.checkpoints} checkpoints and {finding.notes} notes outside"
    lines = [f"DIFFERENCE: {finding.fault}"] if finding.fault else [f"ok: {looked} agree ({seconds:.1f} s)"]
    return "\n".join([*lines, *(f"Could not look at {each}" for each in finding.away)])


def _json(finding: Finding, seconds: float) -> str:
    return dumps({"ok": finding.fault is None and not finding.away, **asdict(finding), "seconds": round(seconds, 3)})


def _watch(
    settings: Settings, key: Path | None, textfile: Path | None, *, signatures: bool, tiles: bool, as_json: bool
) -> _Watch:
    trusted = key or settings.keys_dir / PUBLIC_FILE
    _keys(trusted)
    if textfile is not None and not textfile.parent.is_dir():
        raise BadInput("The folder of --textfile does not exist")
    return _Watch(
        engine=_connect(url(settings)),
        log=open_store(settings.store, endpoint=settings.s3_endpoint).named(FOLDER),
        anchors=anchors.read(settings.anchors, endpoint=settings.s3_endpoint),
        key=trusted, textfile=textfile, signatures=signatures, tiles=tiles, as_json=as_json,
    )


def _connect(database_url: str) -> Engine:
    """With the application's rights; a login that may not take them, such as an auditor's, looks with its own."""
    engine = connect(database_url, role="expunge_app", pool_size=2)
    try:
        engine.connect().close()
    except UnusableDatabase:
        return connect(database_url, pool_size=2)
    except DBAPIError:                          # away: each look will say so
        pass
    return engine


def _keys(path: Path) -> Sequence[Vkey]:
    return read_keys(text(read(path, TEXT_LIMIT)))


def _on_signal() -> threading.Event:
    """Set by Ctrl-C and by SIGTERM: the look that has begun is finished."""
    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    return stop
