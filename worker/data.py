"""Rows as tensors that live on the device, or stay in their file: splits, endless batches, and where they come from."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import torch
from safetensors import safe_open
from torch import Generator, Tensor

from service.domain.recipes import Tokens
from service.errors import BadInput, InvalidDataset
from worker import tasks
from worker.columns import TOKENS, features, labels, persons
from worker.distributed import share
from worker.mapped import Mapped, mapped


@dataclass(frozen=True)
class Rows:
    """Inputs, labels, and the number of the person behind each row."""

    x: Tensor | Mapped              # float32 (n, F); uint8 or float32 (n, C, H, W); int32 (n, L) numbers of words
    y: Tensor                       # int64 (n,); float32 (n, K) or (n,): see tasks
    groups: Tensor | None = None    # int64 (n,)

    def __post_init__(self) -> None:
        sizes = {len(t) for t in (self.x, self.y, self.groups) if t is not None}
        if len(sizes) != 1:
            raise BadInput(f"inputs, labels and persons differ in number: {sorted(sizes)}")

    def __len__(self) -> int:
        return len(self.y)

    def take(self, index: Tensor) -> "Rows":
        """The rows at these positions, or where a bool tensor says so; inputs that stay in their file are not read."""
        x = self.x.rows(index) if isinstance(self.x, Mapped) else self.x[index]
        return Rows(x, self.y[index], None if self.groups is None else self.groups[index])

    def to(self, device: torch.device | str) -> "Rows":
        """The same rows on a device."""
        return Rows(self.x.to(device), self.y.to(device), None if self.groups is None else self.groups.to(device))


@dataclass(frozen=True)
class Split:
    """What a method may see. The holdout belongs to the audit alone, so it is not here."""

    retain: Rows
    forget: Rows
    validation: Rows

    def to(self, device: torch.device | str) -> "Split":
        """The same split on a device."""
        return Split(self.retain.to(device), self.forget.to(device), self.validation.to(device))


def inputs(x: Tensor) -> Tensor:
    """What a model is fed: pictures of bytes are scaled to [0, 1], floats stay as they are, words are counted long."""
    if x.dtype == torch.uint8:
        return x.to(torch.float32) / 255
    return x if x.is_floating_point() else x.long()


def count(n: int, size: int) -> int:
    """Batches in one pass."""
    return -(-n // size)


@dataclass(frozen=True)
class Batch:
    """A batch of rows; `x` is this process's part of it, the rest is of the whole batch."""

    x: Tensor                       # float32 or int64 (n, …), as a model is fed
    y: Tensor                       # (n,) or (n, K)
    partner: Tensor | None = None   # labels of the rows blended in, where rows are blended
    own: Tensor | None = None       # (n,) the share of each row's own label then

    def __len__(self) -> int:
        return len(self.y)

    def losses(self, outputs: Tensor) -> Tensor:
        """(n,) the loss of each row; of a blend: the same blend of the losses to both labels."""
        own = tasks.losses(outputs, self.y)
        if self.partner is None or self.own is None:
            return own
        return self.own * own + (1 - self.own) * tasks.losses(outputs, self.partner)

    def relabelled(self, draw: Callable[[Tensor], Tensor]) -> "Batch":
        """The same inputs with other labels."""
        return replace(self, y=draw(self.y), partner=None if self.partner is None else draw(self.partner))


Augment = Callable[[Batch], Batch]      # of the inputs as a model is fed; draws from torch's global generator


class Batches(Iterator[Batch]):
    """Endless batches of at most `size` rows; each pass has its own order and sees every row once.

    The parts of a pass differ by at most one row: where it can be helped, none is a lone row without statistics.
    """

    def __init__(self, rows: Rows, rng: Generator, size: int, augment: Augment | None = None) -> None:
        if not len(rows):
            raise BadInput("there are no rows to draw batches from")
        self.rows, self.rng, self.augment = rows, rng, augment
        self.count = count(len(rows), size)
        self._streamed = rows.x if isinstance(rows.x, Mapped) else None
        self._order, self._at = torch.arange(0), 0

    def __next__(self) -> Batch:
        if not len(self._order):
            order = torch.randperm(len(self.rows), generator=self.rng)
            self._order = order if self._streamed else order.to(self.rows.y.device)     # a file is read by the CPU
        part = self._part()
        x = self.rows.x[share(part)]
        self._at += 1
        if self._at == self.count:
            self.restart()
        elif self._streamed:
            self._streamed.expect(share(self._part()))
        batch = Batch(inputs(x), self.rows.y[part.to(self.rows.y.device, non_blocking=True)])
        return self.augment(batch) if self.augment else batch

    def _part(self) -> Tensor:
        size, larger = divmod(len(self.rows), self.count)       # the first ones have a row more
        first = self._at * size + min(self._at, larger)
        return self._order[first : first + size + (self._at < larger)]

    def restart(self) -> None:
        """Begin a new pass, in a new order, with the next batch."""
        self._order, self._at = torch.arange(0), 0

    def state_dict(self) -> dict[str, Any]:
        """Where the pass is; the generator is kept by the run."""
        return {"order": self._order, "at": self._at}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from there."""
        self._order, self._at = state["order"], state["at"]


def load_tensors(path: Path, *, resident_mb: int | None = None) -> Rows:
    """Rows of a safetensors file with the tensors x, y and perhaps groups.

    Args:
        resident_mb: inputs of more MiB than these stay in the file, which may lose its name but not its contents.
    """
    held = mapped(path, ("x", "y", "groups"))
    if not {"x", "y"} <= held.keys():
        raise InvalidDataset("the file of rows lacks the tensor x or y")
    y, groups = held["y"][:], held["groups"][:] if "groups" in held else None
    if resident_mb is not None and held["x"].nbytes > resident_mb << 20:
        return Rows(held["x"], y, groups)
    with safe_open(path, framework="pt") as file:
        return Rows(file.get_tensor("x"), y, groups)


def read_parquet(path: Path, split: str | None = None, *, tokens: Tokens = TOKENS) -> tuple[Rows, list[str]]:
    """Rows of a data set's Parquet file, all or those of one split, and their sample ids.

    Args:
        tokens: how texts become numbers of words; a text is read where there is neither a picture nor a vector.
    """
    table = read_table(path, split)
    if not table.num_rows:
        raise InvalidDataset("the file has no rows" + (f" of the split {split!r}" if split else ""))
    ids: list[str] = table["sample_id"].cast(pa.string()).to_pylist()
    return Rows(features(table, tokens), labels(table), persons(table)), ids


def read_table(path: Path, split: str | None) -> pa.Table:
    """The file's rows of one split, once its columns are there."""
    try:
        absent = {"sample_id", "split", "label"} - set(pq.read_schema(path).names)
        if absent:
            raise InvalidDataset(f"these columns are missing: {', '.join(sorted(absent))}")
        return pq.read_table(path, filters=None if split is None else [("split", "==", split)])
    except pa.ArrowInvalid as error:
        raise InvalidDataset("the file is not Parquet") from error
