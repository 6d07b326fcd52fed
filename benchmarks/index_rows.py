"""Register and index a large Parquet file on the embedded service: python benchmarks/index_rows.py [ROWS]

Prints one JSON object: seconds of the POST (upload and inspection), seconds of the index job, and the largest resident
memory, in MB, of the API with its children and of the worker with its children.
"""

import json
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Self

import numpy as np
import psutil
import pyarrow as pa
import pyarrow.parquet as pq

from service.client import Client
from service.settings import Settings
from service.stack import Stack, stack

FEATURES, PIECE = 20, 100_000


def write(path: Path, rows: int) -> None:
    """Persons of two rows each, three classes, every split."""
    rng = np.random.default_rng(0)
    values = pa.list_(pa.float32(), FEATURES)
    names = ["sample_id", "subject_id", "split", "label", "features"]
    with pq.ParquetWriter(path, pa.schema(zip(names, [pa.string()] * 3 + [pa.int64(), values], strict=True))) as out:
        for first in range(0, rows, PIECE):
            ids = np.arange(first, min(first + PIECE, rows))
            split = np.array(["train", "validation", "holdout"])[np.digitize(ids // 2 % 10, [7, 8])]
            flat = pa.array(rng.standard_normal(len(ids) * FEATURES, dtype=np.float32))
            columns = [
                pa.array([f"encounter-{i:012d}" for i in ids]),
                pa.array([f"patient-{i // 2:012d}" for i in ids]),
                pa.array(split),
                pa.array(rng.integers(0, 3, len(ids))),
                pa.FixedSizeListArray.from_arrays(flat, FEATURES),
            ]
            out.write_table(pa.table(columns, names=names))


class Watch:
    """The largest resident memory of a process and all its children, looked at ten times a second."""

    def __init__(self, process: psutil.Process) -> None:
        self.root, self.peak_mb, self.over = process, 0.0, threading.Event()
        self.thread = threading.Thread(target=self.look)

    def __enter__(self) -> Self:
        self.thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.over.set()
        self.thread.join()

    def look(self) -> None:
        while not self.over.wait(0.1):
            family = [self.root, *self.root.children(recursive=True)]
            self.peak_mb = max(self.peak_mb, sum(map(resident, family)) / 1e6)


def resident(process: psutil.Process) -> int:
    try:
        return process.memory_info().rss
    except psutil.NoSuchProcess:
        return 0


def main(rows: int) -> None:
    """Measure once; a second run is another process."""
    with tempfile.TemporaryDirectory(prefix="expunge-bench-") as folder:
        path = Path(folder) / "rows.parquet"
        write(path, rows)
        with stack(Settings(home=Path(folder) / "home", port=0)) as running:
            print(json.dumps({"rows": rows, "file_mb": round(path.stat().st_size / 1e6), **measure(running, path)}))


def measure(running: Stack, path: Path) -> dict[str, object]:
    """Post the file, and wait for its job."""
    processes = {child.name: psutil.Process(child.process.pid) for child in running.children if child.process}
    watches = Watch(processes["api"]), Watch(processes["worker"])
    with Client(running.url, timeout_s=600) as client, watches[0] as api, watches[1] as worker:
        start = time.perf_counter()
        job_id = client.add_dataset("big", path)["job"]["id"]
        posted = time.perf_counter()
        while (job := client.job(job_id))["finished_at"] is None:
            time.sleep(0.1)
        seconds = {"post_s": round(posted - start, 2), "index_s": round(time.perf_counter() - posted, 2)}
    memory = {"api_peak_mb": round(api.peak_mb), "worker_peak_mb": round(worker.peak_mb)}
    return {"status": job["status"], **seconds, **memory}


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 1_000_000)
