"""What `expunge-worker` does on local files: train, unlearn, bench.

Train and unlearn are one job for several processes where torchrun starts them:
`torchrun --nproc-per-node 2 -m worker.cli unlearn …`.

A model is described by a JSON file like examples/hospital/model.json; its rows are in a Parquet file, its weights in a
safetensors file. Whom to forget is read from a text file with one id per line: no id stands in a shell's history.
"""

import json
import os
import sys
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import torch
from cyclopts import Parameter, validators
from cyclopts.types import ExistingDirectory, ExistingFile
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from torch import nn

from worker import checkpoint
from worker.bench import step
from worker.bench.sources import HOSPITAL, load
from worker.bench.step import Size
from worker.bench.tables import table
from worker.bench.unlearn import bench, quick
from worker.choosing import chosen
from worker.distributed import joined, place
from worker.optimise import OnStep, ignore
from worker.sources import Kind, Source, asked_for, read
from worker.threads import suit
from worker.training import train
from worker.unlearning import unlearn

Positive = Annotated[int, Parameter(validator=validators.Number(gte=1))]
OpenShare = Annotated[float, Parameter(validator=validators.Number(gt=0, lt=1))]

screen = Console(stderr=True)


@joined()
def train_(data: ExistingFile, model: ExistingFile, out: Path, *, device: str = "cpu") -> None:
    """Train a model from scratch on the train rows.

    Args:
        data: Parquet file with the rows.
        model: JSON file that describes the model.
        out: safetensors file to write.
        device: torch device.
    """
    source = opened(data, model)
    with bar("training") as on_step:
        trained = train(source.spec, source.train, device=device, on_step=on_step)
    written(trained, out)


@joined()
def unlearn_(
    data: ExistingFile,
    model: ExistingFile,
    weights: ExistingFile,
    ids: ExistingFile,
    out: Path,
    *,
    kind: Kind = "subjects",
    method: str = "nabla_tau",
    set_: Annotated[tuple[str, ...], Parameter(name="--set", negative=())] = (),
    snapshot: Path | None = None,
    seed: int = 0,
    device: str = "cpu",
) -> None:
    """Forget rows.

    Args:
        data: Parquet file with the rows.
        model: JSON file that describes the model.
        weights: safetensors file of the model that knows them.
        ids: text file, one id per line.
        out: safetensors file to write.
        kind: what the ids are of.
        method: a method's name, a preset's, or JSON; see GET /catalogue.
        set_: a setting of the method, as often as needed: --set lr=1e-3 --set mask.name=and
        snapshot: file that is written after every epoch; the same command goes on from there.
        seed: of the batches.
        device: torch device.
    """
    recipe, source = chosen(method, set_), opened(data, model)
    split = source.split(asked_for(data, ids, kind))
    knows = checkpoint.load(source.spec, weights).to(device)
    rng = torch.Generator().manual_seed(seed)
    with bar("unlearning") as on_step:
        result = unlearn(
            knows, split, recipe, rng=rng, spec=source.spec, on_step=on_step, snapshot=snapshot
        )
    written(result.model, out, f", {len(split.forget)} rows in {result.seconds:.2f} s")


def written(model: nn.Module, out: Path, told: str = "") -> None:
    """Save the weights and say so; of several processes the first does, since all have the same."""
    if not place():
        checkpoint.save(model, out)
        screen.print(f"{out}: sha256 {checkpoint.digest(model)}{told}")


def bench_unlearn(
    *,
    data: ExistingDirectory = HOSPITAL,
    rows: Positive = 10_000,
    fraction: OpenShare = 0.05,
    seeds: Positive = 3,
    only: Annotated[tuple[str, ...], Parameter(negative=())] = (),
    quick_: Annotated[bool, Parameter(name="--quick", negative=())] = False,
    json_: Annotated[bool, Parameter(name="--json", negative=())] = False,
) -> None:
    """Every method of the menu beside doing nothing and retraining.

    Args:
        data: folder with train.parquet and test.parquet, or with a file of its own name.
        rows: train rows to use.
        fraction: share of the persons, or of the rows, to forget.
        seeds: runs to average.
        only: name of a line to measure, as often as needed; all unless given.
        quick_: a few rows, epochs and references only, to see that it works.
        json_: print JSON.
    """
    source = load(data, min(rows, 1500) if quick_ else rows, torch.Generator().manual_seed(0))
    suit(source.spec)
    if quick_:
        source, seeds = quick(source), 1
    with screen.status("") as status:
        found = bench(
            source, fraction=fraction, seeds=seeds, references=1 if quick_ else 3, rates=not quick_, only=only,
            on_part=status.update,
        )
    show(found, as_json=json_)


def bench_step(
    *,
    batch: Annotated[int, Parameter(validator=validators.Number(gte=2))] = 256,
    width: Positive = 16,
    repeats: Positive = 5,
    only: tuple[str, ...] = (),
    device: str = "cpu",
    threads: Positive | None = None,
    quick_: Annotated[bool, Parameter(name="--quick", negative=())] = False,
    json_: Annotated[bool, Parameter(name="--json", negative=())] = False,
) -> None:
    """A step of each method under each mask, beside a plain training step on a batch of the same total size.

    Args:
        batch: rows of a step in all.
        width: of the ResNet-18.
        repeats: steps of each that count.
        only: names of methods; all of them if none is named.
        device: torch device.
        threads: of the CPU; as many as it has cores unless given.
        quick_: a few small rows, a thin model and one step of each only, to see that it works.
        json_: print JSON.
    """
    torch.set_num_threads(threads or os.cpu_count() or 1)
    size = Size(batch=8, width=1, side=8, repeats=1) if quick_ else Size(batch, width, repeats=repeats)
    with screen.status("") as status:
        found = step.bench(size, only=only, device=device, on_part=status.update)
    show(found, as_json=json_)


def show(found: dict[str, object], *, as_json: bool) -> None:
    """One JSON object on standard output, or a table of its rows."""
    if as_json:
        sys.stdout.write(json.dumps(found) + "\n")
    else:
        rows = found["rows"]
        Console().print(table(str(found["dataset"]), rows if isinstance(rows, list) else []))


def opened(data: Path, model: Path) -> Source:
    """A model's description and rows, and as many CPU threads as they are worth."""
    source = read(data, model)
    suit(source.spec)
    return source


@contextmanager
def bar(doing: str) -> Generator[OnStep]:
    """A progress bar, and what to call at every step; of several processes the first shows one."""
    if place():
        yield ignore
        return
    columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn()
    with Progress(*columns, console=screen) as progress:
        task = progress.add_task(doing)
        yield lambda done, total: progress.update(task, completed=done, total=total)
