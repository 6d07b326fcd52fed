"""Queries on data sets and their index."""

from collections.abc import Iterable, Sequence
from typing import Any
from uuid import UUID

from sqlalchemy import Row as SqlRow
from sqlalchemy import Select, delete, func, select, update
from sqlalchemy.orm import Session

from service.db.arrays import among
from service.db.session import flush_unless_taken
from service.db.tables import TRAIN, Canary, Dataset, Job, Sample
from service.errors import AlreadyExists, NotFound
from service.storage import digest_of


def _taken(name: str) -> str:
    return f"There is a data set named {name!r} already"


def refuse_taken(tx: Session, name: str) -> None:
    if tx.scalar(select(Dataset.id).where(Dataset.name == name)) is not None:
        raise AlreadyExists(_taken(name))


def add(tx: Session, *, name: str, file_key: str, options: dict[str, Any], facts: dict[str, Any]) -> Dataset:
    dataset = Dataset(
        name=name, file_key=file_key, source_sha256=digest_of(file_key), options=options, facts=facts
    )
    tx.add(dataset)
    flush_unless_taken(tx, _taken(name))
    return dataset


def get(tx: Session, name: str) -> Dataset:
    dataset = tx.scalar(select(Dataset).where(Dataset.name == name))
    if dataset is None:
        raise NotFound("There is no data set of this name")
    return dataset


def by_id(tx: Session, dataset_id: UUID) -> Dataset:
    return tx.get_one(Dataset, dataset_id)


def of_job(tx: Session, job: Job) -> Dataset:
    """The data set that an index job works on."""
    return tx.scalars(select(Dataset).where(Dataset.id == job.dataset_id)).one()


def shares_file(tx: Session, dataset: Dataset) -> bool:
    """Whether another data set that did not fail is made of the same file."""
    others = (Dataset.file_key == dataset.file_key) & (Dataset.id != dataset.id) & (Dataset.status != "failed")
    return tx.scalar(select(Dataset.id).where(others).limit(1)) is not None


def mark(tx: Session, dataset_id: UUID, *, status: str, tensors_key: str | None = None) -> None:
    tx.execute(update(Dataset).where(Dataset.id == dataset_id).values(status=status, tensors_key=tensors_key))


_COLUMNS = "dataset_id, row, sample_ref, subject_ref, split, label"
Row = tuple[int, bytes, bytes | None, int, int]     # row, sample_ref, subject_ref, split, label


def replace_index(tx: Session, dataset_id: UUID, rows: Iterable[Row]) -> int:
    """Write the whole index with COPY; a second attempt leaves what one attempt would."""
    tx.execute(delete(Sample).where(Sample.dataset_id == dataset_id))
    cursor = tx.connection().connection.cursor()
    with cursor.copy(f"COPY sample ({_COLUMNS}) FROM STDIN (FORMAT BINARY)") as copy:
        copy.set_types(["uuid", "int4", "bytea", "bytea", "int2", "int4"])
        for row in rows:
            copy.write_row((dataset_id, *row))
    return cursor.rowcount


def splits(tx: Session, dataset_id: UUID) -> Sequence[SqlRow[int, int, bytes | None]]:
    """(row, split, subject_ref) of every row, in row order."""
    found = tx.execute(
        select(Sample.row, Sample.split, Sample.subject_ref).where(Sample.dataset_id == dataset_id).order_by(Sample.row)
    )
    return found.all()


def rows_of_samples(tx: Session, dataset_id: UUID, refs: Sequence[bytes]) -> tuple[list[int], int]:
    """Training rows of these samples, and how many of the samples were found."""
    rows = tx.scalars(_train(dataset_id).where(among(Sample.sample_ref, refs))).all()
    return _with_canaries(tx, dataset_id, rows), len(rows)


def rows_of_subjects(tx: Session, dataset_id: UUID, refs: Sequence[bytes]) -> tuple[list[int], int]:
    """Training rows of these persons, and how many of the persons have any."""
    rows = tx.scalars(_train(dataset_id).where(among(Sample.subject_ref, refs))).all()
    found = tx.scalar(
        select(func.count(Sample.subject_ref.distinct()))
        .where(Sample.dataset_id == dataset_id, Sample.split == TRAIN, among(Sample.subject_ref, refs))
    )
    return _with_canaries(tx, dataset_id, rows), found or 0


def rows_of_classes(tx: Session, dataset_id: UUID, labels: Sequence[int]) -> tuple[list[int], int]:
    """Training rows of these labels, and how many of the labels have any."""
    rows = tx.scalars(_train(dataset_id).where(among(Sample.label, labels))).all()
    found = tx.scalar(
        select(func.count(Sample.label.distinct()))
        .where(Sample.dataset_id == dataset_id, Sample.split == TRAIN, among(Sample.label, labels))
    )
    return _with_canaries(tx, dataset_id, rows), found or 0


def _with_canaries(tx: Session, dataset_id: UUID, rows: Sequence[int]) -> list[int]:
    """These training rows and the canaries that repeat the inputs of one of them: a copy has to go with its row."""
    copies = select(Canary.row).where(Canary.dataset_id == dataset_id, Canary.included, among(Canary.base_row, rows))
    return sorted({*rows, *tx.scalars(copies)})


def _train(dataset_id: UUID) -> Select[int]:
    return select(Sample.row).where(Sample.dataset_id == dataset_id, Sample.split == TRAIN).order_by(Sample.row)


def sample_refs(tx: Session, dataset_id: UUID, rows: Sequence[int]) -> Sequence[bytes]:
    """The references of these rows, in row order; an erased row has none."""
    known = (Sample.dataset_id == dataset_id) & among(Sample.row, rows) & Sample.sample_ref.is_not(None)
    return [ref for ref in tx.scalars(select(Sample.sample_ref).where(known).order_by(Sample.row)) if ref is not None]
