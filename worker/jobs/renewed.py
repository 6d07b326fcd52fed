"""A data set's file and tensors without some rows, in the store beside the old ones."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from service.db import erasures, jobs, leaving
from service.db.erasures import Object
from service.db.jobs import Claim
from service.db.session import transaction
from service.db.tables import Dataset
from service.errors import Conflict, NotFound
from service.storage import key_of
from worker.erasing import blank, without
from worker.jobs.workshop import Workshop


@dataclass(frozen=True)
class Renewed:
    """Keys of the data set without the rows."""

    file: str
    tensors: str


def renewed(workshop: Workshop, claim: Claim, dataset: Dataset, rows: Sequence[int]) -> Renewed:
    """Make both and store them; they are among the job's purges until a row names them, so that no crash leaves one.

    Raises:
        Unavailable: another erasure of the data set was faster.
    """
    with transaction(workshop.engine) as tx:
        places = leaving.places(tx, dataset.id, rows)
    with workshop.scratch() as folder:
        try:
            tensors, file = _tensors(workshop, dataset, rows, folder), _file(workshop, dataset, places, folder)
        except NotFound:
            with transaction(workshop.engine) as tx:
                leaving.refuse_moved(tx, dataset)
            raise
        made = [Object("dataset-rows", _key(tensors)), *([Object("dataset-file", _key(file))] if file else [])]
        with transaction(workshop.engine) as tx:
            erasures.note(tx, jobs.hold(tx, claim).id, made)
        keys = [workshop.store.put(path) for path in (tensors, file) if path is not None]
    return Renewed(tensors=keys[0], file=keys[1] if file else dataset.file_key)


def _tensors(workshop: Workshop, dataset: Dataset, rows: Sequence[int], folder: Path) -> Path:
    if dataset.tensors_key is None:
        raise Conflict("The data set is not indexed")
    workshop.store.fetch(dataset.tensors_key, folder / "rows.safetensors")
    blank(folder / "rows.safetensors", rows)
    return folder / "rows.safetensors"


def _file(workshop: Workshop, dataset: Dataset, places: Sequence[int], folder: Path) -> Path | None:
    """None: none of the rows stands there, as of canaries alone."""
    if not places:
        return None
    workshop.store.fetch(dataset.file_key, folder / "before.parquet")
    without(folder / "before.parquet", folder / "after.parquet", places)
    return folder / "after.parquet"


def _key(path: Path) -> str:
    with path.open("rb") as file:
        return key_of(hashlib.file_digest(file, "sha256").hexdigest())
