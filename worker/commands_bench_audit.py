"""`expunge-worker bench audit`: what an audit takes, and what U-LiRA tells apart."""

import json
import sys
from typing import Annotated, Literal

from cyclopts import Parameter
from rich.console import Console
from rich.table import Table

from worker.bench.audit import bench

Part = Literal["population", "rmia", "shadow_speedup", "ulira"]


def bench_audit(
    *,
    only: Annotated[tuple[Part, ...], Parameter(negative=())] = (),
    quick_: Annotated[bool, Parameter(name="--quick", negative=())] = False,
    json_: Annotated[bool, Parameter(name="--json", negative=())] = False,
) -> None:
    """Rung 1 and RMIA on made-up answers, shadows trained together, and U-LiRA on the hospital model.

    Args:
        only: part to measure, as often as needed; all unless given. U-LiRA takes minutes.
        quick_: small sizes only, to see that it works.
        json_: print JSON.
    """
    with Console(stderr=True).status("") as status:
        found = bench(quick=quick_, only=only, on_part=status.update)
    if json_:
        sys.stdout.write(json.dumps(found) + "\n")
    else:
        Console().print(table(found))


def table(found: dict[str, object]) -> Table:
    """A line for each number; those of a part stand below each other."""
    out = Table("measure", "value", title="bench audit")
    for name, value in flat(found):
        out.add_row(name, f"{value:.3f}" if isinstance(value, float) else str(value))
    return out


def flat(found: dict[str, object], above: str = "") -> list[tuple[str, object]]:
    """Numbers with their whole names."""
    lines: list[tuple[str, object]] = []
    for name, value in found.items():
        lines += flat(value, f"{above}{name}.") if isinstance(value, dict) else [(above + name, value)]
    return lines
