"""Data for the benchmarks: a folder of data, cut into train, validation and holdout, and whom to forget."""

from pathlib import Path
from typing import Final

import torch
from torch import Generator, Tensor

from service.domain.recipes import Cnn, Training
from service.errors import BadInput
from worker.data import Rows, read_parquet
from worker.sources import SPLITS, Described, Source, describe, source

HOSPITAL: Final = Path(__file__).parents[2] / "examples" / "hospital"
PICTURES: Final = Described(
    name="pictures", dataset="pictures", family=Cnn(width=16), training=Training(epochs=20, batch=64)
)


def load(folder: Path, rows: int, rng: Generator) -> Source:
    """Read a folder that has its splits in one file, or the files train.parquet and test.parquet."""
    train, *unseen = parts(folder, rng)
    train = train.take(torch.randperm(len(train), generator=rng)[:rows])
    return source(model_of(folder, train).model_copy(update={"dataset": folder.name}), [train, *unseen])


def parts(folder: Path, rng: Generator) -> list[Rows]:
    """Train, validation and holdout."""
    whole, train, test = (folder / f"{name}.parquet" for name in (folder.name, "train", "test"))
    if whole.exists():
        return [read_parquet(whole, split)[0] for split in SPLITS]
    if train.exists() and test.exists():
        return [read_parquet(train)[0], *halves(read_parquet(test)[0], rng)]
    raise BadInput(f"the folder has neither {whole.name} nor train.parquet and test.parquet")


def halves(rows: Rows, rng: Generator) -> tuple[Rows, Rows]:
    """Two parts at random, no person in both."""
    first = some(rows, 0.5, rng)
    return rows.take(first), rows.take(~first)


def some(rows: Rows, fraction: float, rng: Generator) -> Tensor:
    """A share of the persons with all their rows, or of the rows where nobody knows of persons; one at least."""
    units = torch.arange(len(rows)) if rows.groups is None else rows.groups
    each = units.unique()
    return torch.isin(units, each[torch.randperm(len(each), generator=rng)[: max(1, round(fraction * len(each)))]])


def model_of(folder: Path, rows: Rows) -> Described:
    """The folder's own model, or the usual one for its kind of rows."""
    if (folder / "model.json").exists():
        return describe(folder / "model.json")
    return PICTURES if rows.x.dim() == 4 else describe(HOSPITAL / "model.json")
