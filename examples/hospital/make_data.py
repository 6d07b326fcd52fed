"""Make hospital.parquet from the diabetes130 data: python examples/hospital/make_data.py ../shared/data/diabetes130

A patient is in one split only, so no split tells about another's patients. The counts are divided by round numbers that
were not fitted to any row: a scaling fitted to the training rows would remember them, and no method would unlearn it.
"""

import json
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

SEED = 130
ROWS = {"train": 10_000, "validation": 5_000, "holdout": 20_000}     # at least; the last patient is taken whole
UNITS = {
    "time_in_hospital": 14,
    "num_lab_procedures": 100,
    "num_procedures": 10,
    "num_medications": 100,
    "number_outpatient": 10,
    "number_emergency": 10,
    "number_inpatient": 10,
    "number_diagnoses": 10,
    "age_mid": 100,
}


def main(source: Path, target: Path) -> None:
    """Draw patients at random until each split has its rows."""
    table = pa.concat_tables([pq.read_table(source / f"{name}.parquet") for name in ("train", "test")])
    table = table.set_column(table.column_names.index("features"), "features", scaled(table, names(source)))
    splits = draw(table["subject_id"].to_numpy(zero_copy_only=False))
    table = table.set_column(table.column_names.index("split"), "split", pa.array(splits))
    pq.write_table(ordered(table), target, compression="zstd", compression_level=22, row_group_size=32_768)


def names(source: Path) -> list[str]:
    """The columns of the feature vector."""
    return json.loads((source / "feature_names.json").read_text())


def scaled(table: pa.Table, columns: list[str]) -> pa.Array:
    """Counts in their units; the one-hot columns stay."""
    x = table["features"].combine_chunks().flatten().to_numpy().reshape(table.num_rows, len(columns))
    units = np.array([UNITS.get(name, 1) for name in columns], dtype=np.float32)
    return pa.FixedSizeListArray.from_arrays(pa.array((x / units).ravel()), len(columns))


def draw(subjects: np.ndarray) -> list[str | None]:
    """The split of each row, or None where it is not needed."""
    people, rows_of = np.unique(subjects, return_counts=True)
    order = np.random.default_rng(SEED).permutation(len(people))
    ends = np.searchsorted(rows_of[order].cumsum(), np.cumsum(list(ROWS.values()))) + 1
    split_of = dict.fromkeys(people, None)
    for name, chosen in zip(ROWS, np.split(order, ends), strict=False):
        split_of |= dict.fromkeys(people[chosen], name)
    return [split_of[subject] for subject in subjects]


def ordered(table: pa.Table) -> pa.Table:
    """The rows that are in a split, as they come in the source."""
    return table.filter(table["split"].is_valid())


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(__file__).with_name("hospital.parquet"))
