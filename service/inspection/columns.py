"""One reader per column: each takes batch after batch, counts what is wrong, and remembers what has to be known."""
# pyarrow brings no types, and makes most functions of `compute` while it is imported:
# pyright: reportMissingTypeStubs=false, reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false, reportUnknownParameterType=false, reportAttributeAccessIssue=false

import hashlib
from collections.abc import Sequence
from itertools import chain

import pyarrow as pa
import pyarrow.compute as pc

from service.inspection.parquet import MAX_CLASSES, SPLITS, SplitRule
from service.inspection.tally import Tally

MAX_ID_BYTES = 512


class Ids:
    """sample_id or subject_id: text, or integers that are read as text."""

    def __init__(self, name: str, tally: Tally, *, nullable: bool) -> None:
        self._pointer, self._tally, self._nullable = f"/columns/{name}", tally, nullable

    @staticmethod
    def reads(kind: pa.DataType) -> bool:
        return is_text(kind) or pa.types.is_integer(kind)

    def read(self, column: pa.Array) -> pa.Array | None:
        """The ids as text; None if one of them is not usable."""
        text = as_text(column)
        if text is None:
            self._tally.say(self._pointer, "some ids are not valid UTF-8")
            return None
        lengths = pc.binary_length(text)
        bad = self._count("rows without an id", 0 if self._nullable else text.null_count)
        bad += self._count("empty ids", count(pc.equal(lengths, 0)))
        bad += self._count(f"ids longer than {MAX_ID_BYTES} bytes", count(pc.greater(lengths, MAX_ID_BYTES)))
        return None if bad else text

    def _count(self, sentence: str, cases: int) -> int:
        return self._tally.add(self._pointer, sentence, cases)


class Splits:
    """The split of each row, by the column or by the rule."""

    def __init__(self, rule: SplitRule | None, tally: Tally) -> None:
        self._rule, self._tally = rule, tally
        self.rows: dict[str, int] = dict.fromkeys(SPLITS, 0)
        shares = (0.0, 0.0) if rule is None else (rule.holdout, rule.holdout + rule.validation)
        self._holdout_below, self._validation_below = (int(share * 2**64) for share in shares)

    def read(self, column: pa.Array) -> pa.Array | None:
        """The codes of a column of names."""
        text = as_text(column)
        if text is None:
            self._tally.say("/columns/split", "some values are not valid UTF-8")
            return None
        codes = pc.index_in(text, value_set=pa.array(SPLITS)).cast(pa.int8())
        old = count(pc.equal(text, "test"))
        for what, cases in (
            ("rows without a split", text.null_count),
            ("rows that say test (those that only the audit may see are called holdout)", old),
            ("rows of another split than train, validation and holdout", codes.null_count - text.null_count - old),
        ):
            self._tally.add("/columns/split", what, cases)
        return None if codes.null_count else self._counted(codes)

    def draw(self, samples: pa.Array, subjects: pa.Array | None) -> pa.Array:
        """The codes that the rule gives to these people."""
        people = samples if subjects is None else pc.coalesce(subjects, samples)
        return self._counted(pa.array([self._code(person) for person in people.to_pylist()], pa.int8()))

    def _code(self, person: str) -> int:
        u = int.from_bytes(hashlib.sha256(b"expunge split v1\0" + person.encode()).digest()[:8])
        return 2 if u < self._holdout_below else 1 if u < self._validation_below else 0

    def _counted(self, codes: pa.Array) -> pa.Array:
        for code, name in enumerate(SPLITS):
            self.rows[name] += count(pc.equal(codes, code))
        return codes

    def finish(self) -> None:
        for name, rows in self.rows.items():
            if not rows:
                self._tally.say("/split" if self._rule else "/columns/split", f"no row is in {name}")


class Labels:
    """Classes 0 … K − 1, as integers or as floats without a fraction."""

    def __init__(self, classes: int | None, tally: Tally) -> None:
        self._asked, self._tally = classes, tally
        self._highest = -1
        self._trained: set[int] = set()

    @staticmethod
    def reads(kind: pa.DataType) -> bool:
        return pa.types.is_integer(kind) or pa.types.is_floating(kind)

    def read(self, column: pa.Array) -> pa.Array | None:
        numbers = column.cast(pa.float64(), safe=False)     # exact wherever a class can be
        top = (self._asked or MAX_CLASSES) - 1
        outside = count(pc.or_(pc.less(numbers, 0), pc.greater(numbers, top)))
        fraction = count(pc.invert(pc.equal(numbers, pc.floor(numbers))))
        bad = self._tally.add("/columns/label", "rows without a label", column.null_count)
        bad += self._tally.add("/columns/label", f"labels that are not between 0 and {top}", outside)
        bad += self._tally.add("/columns/label", "labels that are not whole numbers", fraction)
        return None if bad else numbers.cast(pa.int64())

    def note(self, labels: pa.Array, splits: pa.Array) -> None:
        """Remember which classes there are, and which are trained on."""
        if len(labels):
            self._highest = max(self._highest, pc.max(labels).as_py())
            self._trained.update(pc.unique(labels.filter(pc.equal(splits, 0))).to_pylist())

    @property
    def classes(self) -> int:
        return self._asked or self._highest + 1

    def finish(self) -> None:
        missing = self.classes - len(self._trained)
        if self.classes < 2:
            self._tally.say("/columns/label", "there are fewer than two classes")
        elif self._asked is None:
            self._tally.add("/columns/label", f"classes, of {self.classes}, without a row in train", missing)


class People:
    """How many samples and subjects there are, and who is in more than one split."""

    def __init__(self) -> None:
        self._samples: list[pa.Array] = []
        self._subjects: tuple[list[pa.Array], ...] = tuple([] for _ in SPLITS)

    def note(self, samples: pa.Array, subjects: pa.Array | None, splits: pa.Array | None) -> None:
        self._samples.append(samples)
        if subjects is not None and splits is not None:
            for code, parts in enumerate(self._subjects):
                parts.append(subjects.filter(pc.equal(splits, code)))

    def finish(self, tally: Tally) -> None:
        rows = sum(len(part) for part in self._samples)
        again = rows - pc.count_distinct(joined(self._samples), mode="all").as_py()
        tally.add("/columns/sample_id", "rows that repeat the id of another row", again)

    def subjects(self) -> tuple[int, int]:
        """The number of subjects, and of those in more than one split."""
        once_per_split = [pc.unique(joined(parts).drop_null()) for parts in self._subjects]
        splits_each = pc.value_counts(joined(once_per_split)).field("counts")
        return len(splits_each), count(pc.greater(splits_each, 1))


def joined(parts: Sequence[pa.Array]) -> pa.ChunkedArray:
    return pa.chunked_array(chain(parts), type=pa.string())


def is_text(kind: pa.DataType) -> bool:
    """Whether a column of this type holds text, perhaps dictionary-encoded."""
    if pa.types.is_dictionary(kind):
        kind = kind.value_type
    return pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind)


def as_text(column: pa.Array) -> pa.Array | None:
    """The column as strings; None if bytes of the file are not UTF-8, which the Parquet reader does not check."""
    try:
        text = column.cast(pa.string())
        text.validate(full=True)
    except pa.ArrowInvalid:
        return None
    return text


def count(mask: pa.Array) -> int:
    """How many are true; null is not."""
    return pc.sum(mask).as_py() or 0
