"""A data set made by hand: persons with several noisy rows each, so that a small model memorises them."""

import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

FEATURES, CLASSES = 6, 3
PERSONS = {"train": 60, "validation": 40, "holdout": 60}
ROWS_EACH = 3
SCHEMA = pa.schema([
    ("sample_id", pa.string()), ("subject_id", pa.string()), ("split", pa.string()), ("label", pa.int64()),
    ("features", pa.list_(pa.float32(), FEATURES)),
])


def tiny_rows(seed: int = 0) -> list[dict[str, Any]]:
    return list(_rows(random.Random(seed)))


def _rows(rng: random.Random) -> Iterator[dict[str, Any]]:
    for split, persons in PERSONS.items():
        for person in range(persons):
            for visit in range(ROWS_EACH):
                label = rng.randrange(CLASSES)
                features = [rng.gauss(0.7 * (i == label), 1) for i in range(FEATURES)]
                yield {
                    "sample_id": f"row-{split}-{person}-{visit}", "subject_id": f"person-{split}-{person}",
                    "split": split, "label": label, "features": features,
                }


def tiny_parquet(path: Path, rows: list[dict[str, Any]] | None = None) -> Path:
    pq.write_table(pa.Table.from_pylist(rows or tiny_rows(), schema=SCHEMA), path)
    return path


MODEL: dict[str, Any] = {
    "name": "m", "dataset": "d", "family": {"name": "mlp", "hidden": [32]},
    "training": {"epochs": 20, "batch": 32, "optimizer": {"name": "adamw", "lr": 0.01}},
}
