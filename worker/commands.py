"""What `expunge-worker` does on local files: train, unlearn, audit, bench.

A model is described by a JSON file like examples/hospital/model.json; its rows are in a Parquet file, its weights in a
safetensors file. Whom to forget is read from a text file with one id per line: no id stands in a shell's history.
"""

import json
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

from service.domain.recipes import Method, NablaTau
from worker import checkpoint, report
from worker.auditing import AuditSets, audit
from worker.bench.sources import HOSPITAL, load
from worker.bench.tables import table
from worker.bench.unlearn import bench, quick
from worker.optimise import OnStep
from worker.sources import Kind, Source, asked_for, read
from worker.threads import suit
from worker.training import train
from worker.unlearning import unlearn

Positive = Annotated[int, Parameter(validator=validators.Number(gte=1))]
OpenShare = Annotated[float, Parameter(validator=validators.Number(gt=0, lt=1))]

screen = Console(stderr=True)


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
    checkpoint.save(trained, out)
    screen.print(f"{out}: sha256 {checkpoint.digest(trained)}")


def unlearn_(
    data: ExistingFile,
    model: ExistingFile,
    weights: ExistingFile,
    ids: ExistingFile,
    out: Path,
    *,
    kind: Kind = "subjects",
    method: Method = NablaTau(),  # noqa: B008
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
        method: JSON, or one flag per field: --method.name nabla_tau --method.mask.name and
        seed: of the batches.
        device: torch device.
    """
    source = opened(data, model)
    split = source.split(asked_for(data, ids, kind))
    knows = checkpoint.load(source.spec, weights).to(device)
    rng = torch.Generator().manual_seed(seed)
    with bar("unlearning") as on_step:
        result = unlearn(knows, split, method, rng=rng, spec=source.spec, on_step=on_step)
    checkpoint.save(result.model, out)
    screen.print(f"{out}: sha256 {checkpoint.digest(result.model)}, {len(split.forget)} rows in {result.seconds:.2f} s")


def audit_(
    data: ExistingFile,
    model: ExistingFile,
    before: ExistingFile,
    after: ExistingFile,
    ids: ExistingFile,
    out: Path,
    *,
    kind: Kind = "subjects",
    references: tuple[ExistingFile, ...] = (),
) -> None:
    """Attack a model before and after, and write the report.

    Args:
        data: Parquet file with the rows.
        model: JSON file that describes the model.
        before: weights that know the rows.
        after: weights that shall not.
        ids: text file, one id per line.
        out: .json, .html or .pdf file to write.
        kind: what the ids are of.
        references: weights of models trained without the rows.
    """
    source = opened(data, model)
    split = source.split(asked_for(data, ids, kind))
    models = [checkpoint.load(source.spec, path) for path in (before, after, *references)]
    sets = AuditSets(forget=split.forget, holdout=source.holdout, retain=split.retain)
    with bar("auditing") as on_step:
        found = audit(models[0], models[1], sets, source.policy.audit, references=models[2:], on_step=on_step)
    out.write_bytes(WRITERS.get(out.suffix, report.to_json)(found))
    screen.print(f"{out}: {found.verdict.value} – {found.verdict.statement}")


WRITERS = {".html": report.to_html, ".pdf": report.to_pdf}


def bench_unlearn(
    *,
    data: ExistingDirectory = HOSPITAL,
    rows: Positive = 10_000,
    fraction: OpenShare = 0.05,
    seeds: Positive = 3,
    quick_: Annotated[bool, Parameter(name="--quick", negative=())] = False,
    json_: Annotated[bool, Parameter(name="--json", negative=())] = False,
) -> None:
    """Every recipe of the menu beside doing nothing and retraining.

    Args:
        data: folder with train.parquet and test.parquet, or with a file of its own name.
        rows: train rows to use.
        fraction: share of the persons, or of the rows, to forget.
        seeds: runs to average.
        quick_: a few rows, epochs and references only, to see that it works.
        json_: print JSON.
    """
    source = load(data, min(rows, 1500) if quick_ else rows, torch.Generator().manual_seed(0))
    suit(source.spec)
    if quick_:
        source, seeds = quick(source), 1
    with screen.status("") as status:
        found = bench(source, fraction=fraction, seeds=seeds, references=1 if quick_ else 3, on_part=status.update)
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
    """A progress bar, and what to call at every step."""
    columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn()
    with Progress(*columns, console=screen) as progress:
        task = progress.add_task(doing)
        yield lambda done, total: progress.update(task, completed=done, total=total)
