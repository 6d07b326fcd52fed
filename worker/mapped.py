"""Inputs larger than memory: they stay in their file, and a batch reads its own rows alone.

The service's file of rows is safetensors, where a tensor lies row after row and uncompressed, as it would in an Arrow
column: a row is at a known place, nothing is decoded, and what is read has the bits that a resident tensor has.

Rows are read into a tensor of the batch's size, and not through a mapping of the file: the pages of a mapping count as
the process's memory, by whole megabytes for each row where the kernel keeps the file in large pieces, and a file that
breaks off kills the process instead of raising. What a pass takes up is constant, but for the place of each row, of
8 bytes. What memory is left, the kernel uses to keep what was read. Where it has not kept the rows of the next batch,
they are announced to it, and it fetches them all at once while the model works.

Limits: a row costs a call, about a microsecond, which a model of pictures or texts does not notice, but a thin one of a
table does. A row that is not kept costs at least a block of the disk, so small rows cost more than their size.
"""

import json
import os
import weakref
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import repeat
from math import prod
from pathlib import Path
from typing import TypedDict

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from torch import Tensor

from service.errors import InvalidDataset

DTYPES = {
    "BOOL": torch.bool, "U8": torch.uint8, "I8": torch.int8, "I16": torch.int16, "I32": torch.int32, "I64": torch.int64,
    "F16": torch.float16, "BF16": torch.bfloat16, "F32": torch.float32, "F64": torch.float64,
}
Numbers = NDArray[np.int64]
Bytes = NDArray[np.uint8]

AHEAD = 128 << 10       # bytes that the kernel fetches at a time, if asked for more
CUT_OFF = "the file of rows ends too early"
ASKED = 4               # rows by which is judged whether the kernel has kept a batch
CPU = torch.device("cpu")


class Place(TypedDict):
    """What the head of a safetensors file says of a tensor."""

    dtype: str
    shape: list[int]
    data_offsets: list[int]


class Opened:
    """A file that stays readable after its name is gone, until nobody refers to it."""

    def __init__(self, path: Path) -> None:
        self.descriptor = os.open(path, os.O_RDONLY)
        weakref.finalize(self, os.close, self.descriptor)
        os.posix_fadvise(self.descriptor, 0, 0, os.POSIX_FADV_RANDOM)   # the rows beside a row are not wanted

    def gather(self, first: int, places: Numbers, room: Bytes) -> None:
        """Copy rows into the room, which has the shape (rows, bytes of one); the file's first row is at `first`."""
        if room.size and (np.diff(places) == 1).all():
            self.fill(room.reshape(-1).data, first + int(places[0]) * room.shape[1])
        elif room.size:
            at = (first + places * room.shape[1]).tolist()
            read = sum(map(os.preadv, repeat(self.descriptor), zip(room, strict=True), at))  # no line of Python per row
            if read < room.size:
                raise InvalidDataset(CUT_OFF)

    def fill(self, room: memoryview, at: int) -> None:
        """Read bytes until the room is full."""
        while room:
            read = os.preadv(self.descriptor, [room], at)       # 2 GiB at most
            if not read:
                raise InvalidDataset(CUT_OFF)
            room, at = room[read:], at + read

    def kept(self, at: int) -> bool:
        """Whether the kernel has this byte in memory."""
        try:
            return bool(os.preadv(self.descriptor, [bytearray(1)], at, os.RWF_NOWAIT))
        except BlockingIOError:
            return False
        except OSError:         # a file system that cannot tell
            return True

    def expect(self, at: int, size: int) -> None:
        """Have the kernel fetch bytes that will be read soon."""
        for begin in range(at, at + size, AHEAD):
            os.posix_fadvise(self.descriptor, begin, min(AHEAD, at + size - begin), os.POSIX_FADV_WILLNEED)


@dataclass(frozen=True, eq=False)
class Mapped:
    """A tensor's rows in a file; indexing reads them, `rows` only chooses."""

    file: Opened
    first: int                      # byte at which the file's first row begins
    row: tuple[int, ...]            # shape of one
    dtype: torch.dtype
    index: Tensor                   # int64 (n,) on the CPU: the places of these rows in the file
    device: torch.device = CPU      # where rows go once they are read

    def __len__(self) -> int:
        return len(self.index)

    @property
    def shape(self) -> torch.Size:
        return torch.Size((len(self), *self.row))

    @property
    def row_bytes(self) -> int:
        return prod(self.row) * self.dtype.itemsize

    @property
    def nbytes(self) -> int:
        return len(self) * self.row_bytes

    def dim(self) -> int:
        """As of a tensor."""
        return 1 + len(self.row)

    def is_floating_point(self) -> bool:
        """As of a tensor."""
        return self.dtype.is_floating_point

    def rows(self, which: Tensor) -> "Mapped":
        """The rows at these positions, or where a bool tensor says so; nothing is read."""
        return replace(self, index=self.index[which.to("cpu")])

    def to(self, device: torch.device | str) -> "Mapped":
        """The same rows, which will go to a device."""
        return replace(self, device=torch.device(device))

    def split(self, size: int) -> Iterator[Tensor]:
        """The rows in parts of at most `size`, each read when its turn comes."""
        parts = self.index.split(size)
        self._expect(parts[0])
        for part, following in zip(parts, (*parts[1:], self.index[:0]), strict=True):
            yield self._read_before(part, following)

    def expect(self, which: Tensor) -> None:
        """These rows will be asked for next."""
        self._expect(self.index[which])

    def __getitem__(self, which: Tensor | slice) -> Tensor:
        return self._read(self.index[which.to("cpu") if isinstance(which, Tensor) else which])

    def _read(self, index: Tensor) -> Tensor:
        pinned = self.device.type == "cuda"         # else the copy to the device would be waited for
        out = torch.empty(len(index), *self.row, dtype=self.dtype, pin_memory=pinned)
        room = out.flatten().view(torch.uint8).numpy().reshape(len(index), self.row_bytes)
        self.file.gather(self.first, index.numpy(), room)
        return out.to(self.device, non_blocking=pinned)

    def _read_before(self, index: Tensor, following: Tensor) -> Tensor:
        read = self._read(index)
        self._expect(following)
        return read

    def _expect(self, index: Tensor) -> None:
        asked = index[:: max(1, len(index) // ASKED)].tolist()
        if all(self.file.kept(self.first + place * self.row_bytes) for place in asked):
            return
        begins = torch.cat([torch.tensor([0]), (index.diff() != 1).nonzero()[:, 0] + 1])    # of rows side by side
        lengths = begins.diff(append=torch.tensor([len(index)]))
        for place, length in zip(index[begins].tolist(), lengths.tolist(), strict=True):
            self.file.expect(self.first + place * self.row_bytes, length * self.row_bytes)


def mapped(path: Path, names: tuple[str, ...]) -> dict[str, Mapped]:
    """Those tensors of a safetensors file that it has; none of them is read.

    Raises:
        InvalidDataset: the file is not safetensors, or one of the tensors has no rows of numbers.
    """
    try:
        with safe_open(path, framework="np"):       # checks every place in the file
            pass
    except SafetensorError as error:
        raise InvalidDataset("the file of rows is not safetensors") from error
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        told: dict[str, Place] = json.loads(file.read(length))
    opened = Opened(path)
    return {name: _placed(opened, 8 + length, told[name]) for name in names if name in told}


def _placed(file: Opened, first: int, told: Place) -> Mapped:
    dtype, shape = DTYPES.get(told["dtype"]), told["shape"]
    if dtype is None or not shape:
        raise InvalidDataset("a tensor of the file has no rows, or is of an unknown type")
    return Mapped(file, first + told["data_offsets"][0], tuple(shape[1:]), dtype, torch.arange(shape[0]))
