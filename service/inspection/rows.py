"""Read a Parquet file batch by batch and check everything; runs in the sandbox as `-m service.inspection.rows`."""
# pyarrow brings no types:
# pyright: reportMissingTypeStubs=false, reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false, reportUnknownParameterType=false

import sys
from collections.abc import Callable, Generator
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from service.inspection.columns import Ids, Labels, People, Splits, is_text
from service.inspection.inputs import BATCH_BYTES, BATCH_ROWS, Features, Pictures, Texts
from service.inspection.parquet import RULE, Facts, Options, Outcome
from service.inspection.tally import Tally

BROKEN = (pa.ArrowException, OSError, ValueError, OverflowError)    # what pyarrow raises for damaged files
KNOWN = ("sample_id", "subject_id", "split", "label", "features", "image", "text")


@dataclass(frozen=True, slots=True)
class Batch:
    """Rows in which nothing is wrong so far."""

    samples: pa.Array
    subjects: pa.Array | None
    splits: pa.Array
    labels: pa.Array
    x: pa.Buffer | bytes


class Scan:
    """One pass over a file: iterate `batches` to the end, then ask for the outcome."""

    def __init__(self, path: Path, options: Options) -> None:
        self._tally, self._people, self._rule = Tally(), People(), options.split
        self._samples = Ids("sample_id", self._tally, nullable=False)
        self._subjects = Ids("subject_id", self._tally, nullable=True)
        self._splits = Splits(options.split, self._tally)
        self._labels = Labels(options.classes, self._tally)
        self._file = opened(path, self._tally)
        self._columns = frozenset[str]() if self._file is None else self._readable(self._file.schema_arrow)
        self.inputs = self._inputs(options)

    @property
    def rows(self) -> int:
        """How many rows the file says it has."""
        return 0 if self._file is None else self._file.metadata.num_rows

    def batches(self) -> Generator[Batch]:
        """Check all rows, and yield them for as long as nothing is wrong."""
        seen = 0
        for table in self._tables():
            seen += len(table)
            batch = self._read(dict(zip(table.schema.names, table.columns, strict=True)))
            if batch is not None and not self._tally:
                yield batch
        if seen != self.rows:
            self._tally.say("/file", f"the file is damaged: {seen} of {self.rows} rows can be read")

    def outcome(self) -> Outcome:
        """Facts if all is well; otherwise all faults."""
        self._finish()
        if self._tally:
            return Outcome(faults=self._tally.faults())
        subjects, shared = self._people.subjects() if "subject_id" in self._columns else (None, 0)
        return Outcome(
            facts=Facts(
                rows=self.rows, splits=self._splits.rows, subjects=subjects, shared_subjects=shared,
                classes=self._labels.classes, input=self.inputs.shape, rule=RULE if self._rule else None,
            )
        )

    def _finish(self) -> None:
        """What can be judged only in the end, and only of columns that could be read as a whole."""
        if self._tally.is_clean("/file", "/columns/sample_id"):
            self._people.finish(self._tally)
        if self._tally.is_clean("/file", "/columns/sample_id", "/columns/subject_id", "/columns/split"):
            self._splits.finish()
            if self._tally.is_clean("/columns/label", "/columns/split", "/split"):
                self._labels.finish()

    # ---- the schema -------------------------------------------------------------------------------------------------

    def _readable(self, schema: pa.Schema) -> frozenset[str]:
        """The columns that are there once, have a fitting type, and are needed; faults for the others."""
        self._check_presence(schema)
        readers = (Ids.reads, Ids.reads, is_text, Labels.reads, Features.reads, Pictures.reads, Texts.reads)
        unread = {"split"} if self._rule else set[str]()
        if not {"features", "image"}.isdisjoint(schema.names):
            unread.add("text")      # a remark beside the row
        return frozenset(
            name for name, reads in zip(KNOWN, readers, strict=True)
            if name in schema.names and name not in unread and self._fits(schema, name, reads)
        )

    def _check_presence(self, schema: pa.Schema) -> None:
        for name in ("sample_id", "label", *(() if self._rule else ("split",))):
            if name not in schema.names:
                self._tally.say(f"/columns/{name}", "the column is missing")
        if self._rule and "split" in schema.names:
            self._tally.say("/columns/split", "the column is there, and a rule was given as well: give one of them")
        if {"features", "image"} <= set(schema.names):
            self._tally.say("/columns/features", "the columns features and image are both there: give one of them")
        elif {"features", "image", "text"}.isdisjoint(schema.names):
            self._tally.say("/columns/features", "one of the columns features, image and text is needed")

    def _fits(self, schema: pa.Schema, name: str, reads: Callable[[pa.DataType], bool]) -> bool:
        places = schema.get_all_field_indices(name)
        if len(places) > 1:
            self._tally.say(f"/columns/{name}", f"{len(places)} columns have this name")
        elif not reads(schema.field(places[0]).type):
            self._tally.say(f"/columns/{name}", f"the column has another type than {TYPES[name]}")
        else:
            return True
        return False

    # ---- the rows ---------------------------------------------------------------------------------------------------

    def _tables(self) -> Generator[pa.RecordBatch]:
        if self._file is None:
            return
        size = min(batch_rows(self._file.metadata), self.inputs.batch_rows)
        tables = self._file.iter_batches(size, columns=list(self._columns), use_threads=False)
        while True:
            try:
                table = next(tables, None)
            except pa.ArrowMemoryError:
                raise       # it is our limit that ends this, not a fault that we can name
            except BROKEN:
                return      # the missing rows are noticed by their number
            if table is None:
                return
            if len(table):
                yield table

    def _read(self, columns: dict[str, pa.Array]) -> Batch | None:
        samples = self._samples.read(columns["sample_id"]) if "sample_id" in columns else None
        subjects = self._subjects.read(columns["subject_id"]) if "subject_id" in columns else None
        lost = subjects is None and "subject_id" in columns
        splits = self._split(columns, None if lost else samples, subjects)
        labels = self._labels.read(columns["label"]) if "label" in columns else None
        x = self._input(columns)
        if samples is not None:
            self._people.note(samples, subjects, splits)
        if labels is not None and splits is not None:
            self._labels.note(labels, splits)
        if samples is None or splits is None or labels is None or x is None or lost:
            return None
        return Batch(samples, subjects, splits, labels, x)

    def _split(self, columns: dict[str, pa.Array], samples: pa.Array, subjects: pa.Array) -> pa.Array | None:
        if self._rule:
            return None if samples is None else self._splits.draw(samples, subjects)
        return self._splits.read(columns["split"]) if "split" in columns else None

    def _input(self, columns: dict[str, pa.Array]) -> pa.Buffer | bytes | None:
        name = next((name for name in ("image", "text", "features") if name in columns), None)
        return None if name is None else self.inputs.read(columns[name])

    def _inputs(self, options: Options) -> Features | Pictures | Texts:
        if "text" in self._columns:
            return Texts(options.text, self._tally)
        return Pictures(self._tally) if "image" in self._columns else Features(self._tally)


TYPES = {
    "sample_id": "text or integers",
    "subject_id": "text or integers",
    "split": "text",
    "label": "integers or floats",
    "features": "lists of floats, all of one length",
    "image": "binary (a PNG or JPEG file per row)",
    "text": "text",
}


def opened(path: Path, tally: Tally) -> pq.ParquetFile | None:
    try:
        return pq.ParquetFile(
            path, buffer_size=1 << 20, pre_buffer=False, memory_map=False,
            thrift_string_size_limit=64 << 20, thrift_container_size_limit=4 << 20,
        )
    except pa.ArrowMemoryError:
        raise       # as in `_tables`
    except BROKEN:
        tally.say("/file", "this is not a Parquet file that can be read (or it is encrypted, or cut off)")
        return None


def batch_rows(metadata: pq.FileMetaData) -> int:
    """So many rows that a batch is a few megabytes, whatever a row holds."""
    groups = [metadata.row_group(i) for i in range(metadata.num_row_groups)]
    columns = [group.column(i) for group in groups for i in range(group.num_columns)]
    size = max(sum(c.total_uncompressed_size for c in columns), 4 * sum(c.num_values for c in columns))
    return min(max(BATCH_BYTES * max(metadata.num_rows, 1) // max(size, 1), 1), BATCH_ROWS)


def main(path: str, options: str) -> None:
    """Print the outcome for this file as JSON."""
    scan = Scan(Path(path), Options.model_validate_json(options))
    for _ in scan.batches():
        pass
    sys.stdout.write(scan.outcome().model_dump_json())


if __name__ == "__main__":
    main(*sys.argv[1:])
