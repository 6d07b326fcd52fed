"""Are unseen rows unseen? Rows have no names here, so their bits are compared."""

from collections import Counter
from collections.abc import Sequence

from service.errors import BadInput
from worker.data import Rows, Split

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
    labels = rows.y.cpu().numpy()
    each = (row.tobytes() for part in rows.x.split(4096) for row in part.cpu().numpy())
    return [hash((row, y.tobytes())) for row, y in zip(each, labels, strict=True)]
