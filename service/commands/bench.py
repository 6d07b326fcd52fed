"""`expunge bench`: measurements on servers of their own, which end with them."""

import signal
from collections.abc import Mapping
from dataclasses import replace
from json import dumps
from typing import Annotated

from cyclopts import Parameter
from cyclopts.validators import Number
from rich.console import Console
from rich.table import Table

from service.bench.ledger import QUICK, Plan, measure

Entries = Annotated[int | None, Parameter(validator=Number(gte=100, lte=100_000_000))]
Bytes = Annotated[int | None, Parameter(name="--bytes", validator=Number(gte=64, lte=65_535))]
Seconds = Annotated[float | None, Parameter(validator=Number(gte=0, lte=86_400))]


def ledger(
    *,
    json: bool = False,
    quick: bool = False,
    entries: Entries = None,
    envelope: Bytes = None,
    fault_seconds: Seconds = None,
) -> None:
    """Measure the ledger on an embedded PostgreSQL that waits for its disk.

    Args:
        json: print one JSON object instead of a table.
        quick: see that everything works, within 20 seconds; the numbers say little.
        entries: of the large log, whose envelopes have 512 bytes.
        envelope: bytes of all other envelopes.
        fault_seconds: how long the sequencer is killed again and again.
    """
    asked = {"entries": entries, "bytes": envelope, "fault_seconds": fault_seconds}
    plan = replace(QUICK if quick else Plan(), **{name: value for name, value in asked.items() if value is not None})
    signal.signal(signal.SIGTERM, signal.default_int_handler)      # the server is ended, however this is
    with Console(stderr=True).status("") as status:
        found = measure(plan, lambda what: status.update(f"Measuring {what} …"))
    if json:
        print(dumps(found))
    else:
        Console().print(_table(found))


def _table(found: Mapping[str, object]) -> Table:
    table = Table("what", "value", title="ledger")
    for name, value in found.items():
        if isinstance(value, Mapping):
            for part, each in value.items():
                table.add_row(f"{name} {part}".replace("_", " "), _cell(each))
        else:
            table.add_row(name.replace("_", " "), _cell(value))
    return table


def _cell(value: object) -> str:
    """A number with as many places as it deserves."""
    if not isinstance(value, float):
        return str(value)
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3f}"
