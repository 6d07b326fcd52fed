"""Are unseen rows unseen? Rows have no names here, so their bits are compared."""

from collections.abc import Iterator
from hashlib import sha256

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from service.errors import BadInput
from worker.case import AuditSets
from worker.data import Rows, Split
from worker.mapped import Mapped

AT_A_TIME = 4 << 20      # bytes
MOST = 0.01     # share of unseen rows that may be met in training beyond twice what chance makes alike


def refuse_overlap(data: Split) -> None:
    """Refuse validation rows that were trained on."""
    _refuse("validation", data.validation, data.retain, data.forget)


def refuse_shared(sets: AuditSets) -> None:
    """Refuse holdout rows that were trained on, and rows z that are held out."""
    _refuse("holdout", sets.holdout, sets.retain, sets.forget)
    if sets.population is not None:
        _refuse("population", sets.population, sets.retain, sets.forget)


def _refuse(name: str, unseen: Rows, *trained: Rows) -> None:
    """Rows of small tables are alike by chance, in training itself too: twice that rate is taken for chance."""
    if not len(unseen):
        return
    known, times = np.unique(np.concatenate([prints(rows) for rows in trained]), return_counts=True)
    alike = times[times > 1].sum() / times.sum()
    met = np.isin(prints(unseen), known).mean()
    if met > 2 * alike + MOST:
        raise BadInput(f"{met:.0%} of the {name} rows are rows that were trained on, and have to be unseen")


def prints(rows: Rows) -> NDArray[np.int64]:
    """A number for each row, the same for the same bits and label: of rows that stay in their file 8 bytes are kept."""
    return np.fromiter((hash(pair) for pair in zip(bits(rows.x), bits(rows.y), strict=True)), np.int64, len(rows))


def fingerprint(rows: Rows) -> bytes:
    """SHA-256 of the rows, their order included; the same in every process."""
    told = sha256(f"{len(rows)} {rows.x.shape[1:]} {rows.x.dtype} {rows.y.dtype}".encode())
    for row, label in zip(bits(rows.x), bits(rows.y), strict=True):
        told.update(row)
        told.update(label)
    return told.digest()


def bits(rows: Tensor | Mapped) -> Iterator[bytes]:
    """The bytes of each row, fetched from the device, or the file, in parts."""
    size = max(1, AT_A_TIME * len(rows) // max(1, rows.nbytes))
    return (row.tobytes() for part in rows.split(size) for row in part.cpu().numpy())
