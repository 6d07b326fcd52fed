"""Are unseen rows unseen? Rows have no names here, so their bits are compared."""

from collections import Counter
from collections.abc import Iterator, Sequence
from hashlib import sha256

from torch import Tensor

from service.errors import BadInput
from worker.data import Rows, Split

AT_A_TIME = 4096
MOST = 0.01     # share of validation rows that may be met in training beyond twice what chance makes alike


def refuse_overlap(data: Split) -> None:
    """Refuse validation rows that were trained on.

    Rows of small tables are alike by chance, in training itself too: twice that rate is taken for chance.
    """
    known = Counter(p for part in (data.retain, data.forget) for p in prints(part))
    total = len(data.retain) + len(data.forget)
    alike = sum(times for times in known.values() if times > 1) / total
    met = sum(p in known for p in prints(data.validation)) / len(data.validation)
    if met > 2 * alike + MOST:
        raise BadInput(f"{met:.0%} of the validation rows are rows that were trained on, and have to be unseen")


def prints(rows: Rows) -> Sequence[int]:
    """A number for each row, the same for the same bits and label."""
    return [hash(pair) for pair in zip(bits(rows.x), bits(rows.y), strict=True)]


def fingerprint(rows: Rows) -> bytes:
    """SHA-256 of the rows, their order included; the same in every process."""
    told = sha256(f"{len(rows)} {rows.x.shape[1:]} {rows.x.dtype} {rows.y.dtype}".encode())
    for row, label in zip(bits(rows.x), bits(rows.y), strict=True):
        told.update(row)
        told.update(label)
    return told.digest()


def bits(rows: Tensor) -> Iterator[bytes]:
    """The bytes of each row, fetched from the device in parts."""
    return (row.tobytes() for part in rows.split(AT_A_TIME) for row in part.cpu().numpy())
