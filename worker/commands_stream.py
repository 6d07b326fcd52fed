"""`expunge-worker bench stream`: what it costs to leave the rows in their file."""

import os
from typing import Annotated

import torch
from cyclopts import Parameter, validators
from rich.console import Console

from worker.bench.stream import Size, bench
from worker.commands import show

Positive = Annotated[int, Parameter(validator=validators.Number(gte=1))]
Even = Annotated[int, Parameter(validator=validators.Number(gte=2, modulo=2))]


def bench_stream(
    *,
    rows: Annotated[int, Parameter(validator=validators.Number(gte=1000))] = 200_000,
    batch: Even = 256,
    width: Positive = 16,
    blocks: Positive = 10,
    threads: Positive | None = None,
    quick_: Annotated[bool, Parameter(name="--quick", negative=())] = False,
    json_: Annotated[bool, Parameter(name="--json", negative=())] = False,
) -> None:
    """Steps of ∇τ on rows in memory and on rows in a file; and what memory both take for two sizes of the file.

    Args:
        rows: of the smaller file; the larger one has four times as many, of 3 KiB each.
        batch: rows of a step in all.
        width: of the cnn.
        blocks: of 20 steps each, in turns.
        threads: of the CPU; as many as it has cores unless given.
        quick_: a few small rows and steps only, to see that it works.
        json_: print JSON.
    """
    torch.set_num_threads(threads or os.cpu_count() or 1)
    usual = Size(rows, width=width, batch=batch, blocks=blocks)
    with Console(stderr=True).status("") as status:
        found = bench(Size(1000, side=8, width=2, batch=16, steps=2, blocks=2) if quick_ else usual,
                      on_part=status.update)
    show(found, as_json=json_)
