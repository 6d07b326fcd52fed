"""Data for the benchmarks: a folder of data, cut into train, validation and holdout, and whom to forget."""

from dataclasses import replace
from pathlib import Path
from typing import Final

import torch
from torch import Generator, Tensor

from service.domain.recipes import Cnn, TextTransformer, Tokens, Training
from service.errors import BadInput
from worker.data import Rows, read_parquet
from worker.sources import SPLITS, Described, Source, describe, source
from worker.tasks import task_of

HOSPITAL: Final = Path(__file__).parents[2] / "examples" / "hospital"
PICTURES: Final = Described(
    name="pictures", dataset="pictures", family=Cnn(), training=Training(epochs=20, batch=64)
)


TEXTS: Final = Described(
    name="texts", dataset="texts", family=TextTransformer(width=64, depth=1), training=Training(epochs=10, batch=64)
)


def load(folder: Path, rows: int, rng: Generator) -> Source:
    """Read a folder that has its splits in one file, or the files train.parquet, test.parquet and perhaps dev.parquet.
    """
    own = describe(folder / "model.json") if (folder / "model.json").exists() else None
    train, *unseen = parts(folder, rng, own.text if own else Tokens())
    train = train.take(torch.randperm(len(train), generator=rng)[:rows])
    described = own or usual(train)
    return source(described.model_copy(update={"dataset": folder.name}), [train, *unseen])


def parts(folder: Path, rng: Generator, tokens: Tokens) -> list[Rows]:
    """Train, validation and holdout."""
    whole, train, dev, test = (folder / f"{name}.parquet" for name in (folder.name, "train", "dev", "test"))
    if whole.exists():
        return [read_parquet(whole, split, tokens=tokens)[0] for split in SPLITS]
    if not (train.exists() and test.exists()):
        raise BadInput(f"the folder has neither {whole.name} nor train.parquet and test.parquet")
    seen, *unseen = (
        nobodys_class(read_parquet(path, tokens=tokens)[0]) for path in (train, dev, test) if path.exists()
    )
    return [seen, *(unseen if len(unseen) == 2 else halves(unseen[0], rng))]


def halves(rows: Rows, rng: Generator) -> tuple[Rows, Rows]:
    """Two parts at random, no person in both."""
    first = some(rows, 0.5, rng)
    return rows.take(first), rows.take(~first)


def nobodys_class(rows: Rows) -> Rows:
    """The rows without their persons where each person is a class: every part needs every class."""
    return replace(rows, groups=None) if persons_are_classes(rows) else rows


def persons_are_classes(rows: Rows) -> bool:
    """Whether each class has one person, whose rows are all of it."""
    if rows.groups is None or task_of(rows.y) != "classification":
        return False
    pairs = torch.stack([rows.groups, rows.y]).unique(dim=1)
    return all(len(one.unique()) == pairs.shape[1] for one in pairs)


def some(rows: Rows, fraction: float, rng: Generator) -> Tensor:
    """A share of the persons with all their rows, or of the rows where nobody knows of persons; one at least."""
    units = torch.arange(len(rows)) if rows.groups is None else rows.groups
    each = units.unique()
    return torch.isin(units, each[torch.randperm(len(each), generator=rng)[: max(1, round(fraction * len(each)))]])


def usual(rows: Rows) -> Described:
    """The usual model for this kind of rows."""
    if rows.x.dim() == 4:
        return PICTURES
    return describe(HOSPITAL / "model.json") if rows.x.is_floating_point() else TEXTS
