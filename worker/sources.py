"""A model's description and its rows from local files: for the command line and the benchmarks, not for the service."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import pyarrow.parquet as pq
import torch
from pydantic import ValidationError
from torch import Tensor

from service.domain.policy import Policy
from service.domain.recipes import Family, Image, InputShape, Spec, Tokens, Training, Vector
from service.domain.values import Value
from service.errors import BadInput, UnknownClass, UnknownSamples
from worker.data import Rows, Split, read_parquet
from worker.tasks import task_of

Kind = Literal["samples", "subjects", "classes"]
COLUMN: dict[Kind, str] = {"samples": "sample_id", "subjects": "subject_id", "classes": "label"}
SPLITS = ("train", "validation", "holdout")


class Described(Value):
    """A model as its file describes it, without its rows."""

    name: str
    dataset: str
    family: Family
    training: Training = Training()
    text: Tokens = Tokens()         # how texts are read, where the rows are texts
    policy: Policy = Policy()


@dataclass(frozen=True)
class Source:
    """A model's recipe and policy, and rows whose holdout no method sees."""

    name: str
    spec: Spec
    policy: Policy
    train: Rows
    validation: Rows
    holdout: Rows

    def split(self, gone: Tensor) -> Split:
        """What a method may see when the train rows that a bool tensor names are to be forgotten."""
        return Split(self.train.take(~gone), self.train.take(gone), self.validation)


def describe(path: Path) -> Described:
    """Read a model's description."""
    try:
        return Described.model_validate_json(path.read_bytes())
    except ValidationError as error:
        where = ", ".join("/".join(map(str, fault["loc"])) for fault in error.errors())
        raise BadInput(f"the description of the model is not valid at: {where}") from error


def read(data: Path, model: Path) -> Source:
    """The three splits of a Parquet file, and the model that belongs to them."""
    described = describe(model)
    return source(described, [read_parquet(data, split, tokens=described.text)[0] for split in SPLITS])


def source(described: Described, parts: Sequence[Rows]) -> Source:
    """The recipe gets the shape of the rows, and the task and the outputs of the labels."""
    spec = Spec(
        family=described.family, training=described.training, input=shape_of(parts[0], described.text),
        task=task_of(parts[0].y), classes=outputs([part.y for part in parts]),
    )
    return Source(described.dataset, spec, described.policy, *parts)


def outputs(labels: Sequence[Tensor]) -> int:
    """How many numbers a model answers with: one per class or label, one for a value."""
    match task_of(labels[0]):
        case "classification":
            return max(2, 1 + max(int(y.max()) for y in labels))
        case "multi_label":
            return labels[0].shape[1]
        case "regression":
            return 1


def shape_of(rows: Rows, text: Tokens) -> InputShape:
    """What one row looks like."""
    if not rows.x.is_floating_point() and rows.x.dim() == 2:
        return text
    if rows.x.dim() == 2:
        return Vector(features=rows.x.shape[1])
    channels, height, width = rows.x.shape[1:]
    return Image.model_validate({"channels": channels, "height": height, "width": width})


def asked_for(data: Path, ids: Path, kind: Kind) -> Tensor:
    """Which train rows a list of ids means, as a bool tensor; the list has one id per line.

    Raises:
        BadInput: the list is empty.
        UnknownSamples, UnknownClass: an id has no train row; nothing is half forgotten.
    """
    asked = {line.strip() for line in ids.read_text().splitlines()} - {""}
    if not asked:
        raise BadInput("the list of ids is empty")
    held = pq.read_table(data, columns=[COLUMN[kind]], filters=[("split", "==", "train")])[COLUMN[kind]].to_pylist()
    missing = len(asked - {str(value) for value in held})
    if missing:
        unknown = UnknownClass if kind == "classes" else UnknownSamples
        raise unknown(data.stem, missing=missing, asked=len(asked))
    return torch.tensor([str(value) in asked for value in held])
