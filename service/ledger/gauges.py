"""What Prometheus is told of the ledger, in its text format; read from rows, so every process says the same."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import NamedTuple

from sqlalchemy.orm import Session

from service.db import anchored, checks, ledger
from service.db.tables.ledger import LedgerCheck

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


class Gauge(NamedTuple):
    """A number that goes up and down; `values` by labels, as they are written."""

    name: str
    help: str
    values: Mapping[str, float]


def read(tx: Session) -> list[Gauge]:
    """All gauges; those of a check are missing before the first."""
    check = checks.latest(tx)
    return [*([] if check is None else _of_check(check)), *of_ledger(tx)]


def of_ledger(tx: Session) -> list[Gauge]:
    """What waits, what is signed, and what is written down outside."""
    waiting, oldest = ledger.waiting(tx)
    anchors = {f'{{anchor="{anchor}"}}': float(size) for anchor, size in anchored.newest(tx).items()}
    return [
        _one("size", "Entries under the newest checkpoint.", ledger.signed_size(tx)),
        _one("inbox", "Entries that wait to be sequenced.", waiting),
        _one("inbox_oldest_seconds", "How long the oldest of them has waited.", oldest),
        Gauge("expunge_ledger_anchored_size", "Entries under the newest checkpoint that an anchor was given.", anchors),
    ]


def _of_check(check: LedgerCheck) -> list[Gauge]:
    return [
        _one("consistency_ok", "1 if the last monitor found no difference, 0 if it did.", check.ok),
        _one("checked_size", "Entries that it replayed.", check.size),
        _one("last_check_timestamp_seconds", "When it had finished.", check.at.timestamp()),
    ]


def found(*, size: int, ok: bool) -> list[Gauge]:
    """What a monitor found just now, whether it may write that down or not."""
    return _of_check(LedgerCheck(size=size, ok=ok, at=datetime.now(UTC)))


def _one(name: str, help: str, value: float) -> Gauge:  # noqa: A002  Prometheus calls it so
    return Gauge(f"expunge_ledger_{name}", help, {"": float(value)})


def write(gauges: list[Gauge]) -> str:
    """The text that Prometheus, or the text file collector of its node exporter, reads."""
    lines: list[str] = []
    for gauge in gauges:
        lines += [f"# HELP {gauge.name} {gauge.help}", f"# TYPE {gauge.name} gauge"]
        lines += [f"{gauge.name}{labels} {value:.17g}" for labels, value in sorted(gauge.values.items())]
    return "\n".join(lines) + "\n"
