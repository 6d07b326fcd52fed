"""`expunge-worker preflight`: would this recipe's ascent lead to forgetting?"""

import json
import sys
from typing import Annotated

import torch
from cyclopts import Parameter
from cyclopts.types import ExistingFile
from rich.console import Console
from rich.table import Table

from worker import checkpoint
from worker.choosing import chosen
from worker.preflighting import Preflight, preflight
from worker.sources import Kind, asked_for, read
from worker.threads import suit


def preflight_(
    data: ExistingFile,
    model: ExistingFile,
    weights: ExistingFile,
    ids: ExistingFile,
    *,
    kind: Kind = "subjects",
    method: str = "nabla_tau",
    set_: Annotated[tuple[str, ...], Parameter(name="--set", negative=())] = (),
    seed: int = 0,
    json_: Annotated[bool, Parameter(name="--json", negative=())] = False,
) -> None:
    """Measure before a run whether its ascent can forget; nothing is changed. Ends with 1 where it is refused.

    Args:
        data: Parquet file with the rows.
        model: JSON file that describes the model.
        weights: safetensors file of the model that knows them.
        ids: text file, one id per line.
        kind: what the ids are of.
        method: a method's name, a preset's, or JSON.
        set_: a setting of the method, as often as needed: --set lr=1e-3 --set mask.name=and
        seed: of the rows that are drawn.
        json_: print JSON.
    """
    recipe, source = chosen(method, set_), read(data, model)
    suit(source.spec)
    split, knows = source.split(asked_for(data, ids, kind)), checkpoint.load(source.spec, weights)
    found = preflight(knows, split, recipe, rng=torch.Generator().manual_seed(seed), spec=source.spec)
    if json_:
        sys.stdout.write(json.dumps(found.dump()) + "\n")
    else:
        Console().print(table(found))
    if found.verdict == "refuse":
        sys.exit(1)


def table(found: Preflight) -> Table:
    """A line for each check."""
    out = Table("check", "verdict", "value", "threshold", "what it means", title=f"preflight: {found.verdict}")
    for check in found.checks:
        out.add_row(check.name, check.verdict, *map(cell, (check.value, check.threshold)), check.sentence)
    return out


def cell(number: float | None) -> str:
    """Three places, or a dash."""
    return "–" if number is None else f"{number:.3f}"
