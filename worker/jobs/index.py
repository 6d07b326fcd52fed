"""Index a data set: rows become tensors in the store, identifiers become keyed references in the database."""

from collections.abc import Iterator
from pathlib import Path

from sqlalchemy.orm import Session

from service import suppression
from service.db import datasets, jobs
from service.db.datasets import Row
from service.db.jobs import Claim
from service.db.session import transaction
from service.db.tables import Dataset, Job
from service.domain.commitments import reference
from service.errors import InvalidDataset
from service.inspection.parquet import Options
from worker.ingest import ingest
from worker.jobs.pulse import Pulse
from worker.jobs.workshop import Workshop


def run(workshop: Workshop, job: Job, claim: Claim, pulse: Pulse) -> None:
    """Read the file in a limited child process, once; a second attempt leaves what one would."""
    with transaction(workshop.engine) as tx:
        dataset = datasets.of_job(tx, job)
    options = Options.model_validate(dataset.options)
    with workshop.fetched(dataset.file_key) as path, workshop.scratch() as folder:
        out = folder / "rows.safetensors"
        rows = _rows(workshop.keys.index_key, path, out, options, pulse, dataset.facts["rows"])
        with transaction(workshop.engine) as tx:
            n = datasets.replace_index(tx, dataset.id, rows)
            jobs.hold(tx, claim)
            _refuse_suppressed(workshop, tx, dataset)
        tensors_key = workshop.store.put(out)       # complete now that the last row has been read
        with transaction(workshop.engine) as tx:
            datasets.mark(tx, dataset.id, status="ready", tensors_key=tensors_key)
            jobs.finish(tx, claim, status="succeeded", result={"rows": n})


def _refuse_suppressed(workshop: Workshop, tx: Session, dataset: Dataset) -> None:
    """Nothing of a file that is refused stays, unless it came earlier too."""
    try:
        suppression.refuse_indexed(tx, dataset.id)
    except InvalidDataset:
        if not datasets.shares_file(tx, dataset):
            workshop.store.delete(dataset.file_key)
        raise


def _rows(key: bytes, path: Path, out: Path, options: Options, pulse: Pulse, total: int) -> Iterator[Row]:
    phase, done = pulse.phase("index"), 0
    for batch in ingest(path, out, options):
        for row, sample, subject, split, label in batch:
            subject_ref = None if subject is None else reference(key, "subject", subject)
            yield row, reference(key, "sample", sample), subject_ref, split, label
        done += len(batch)
        phase(done, total)
