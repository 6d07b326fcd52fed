"""Data sets and their index. Identifiers are kept only as keyed HMACs (see domain/commitments.py)."""

from typing import Any
from uuid import UUID

from sqlalchemy import CheckConstraint, ForeignKey, Index, SmallInteger
from sqlalchemy.orm import Mapped, mapped_column

from service.db.tables.base import Base, CreatedAt, Id

TRAIN, VALIDATION, HOLDOUT = 0, 1, 2
ERASED = 4          # a row that is gone; its number stays, so that the others keep theirs
CANARY = 3          # planted and left out by its coin: no training, method, holdout or validation sees such a row


class Dataset(Base):
    __tablename__ = "dataset"
    __table_args__ = (CheckConstraint("status IN ('indexing', 'ready', 'failed')", name="status"),)

    id: Mapped[Id]
    name: Mapped[str] = mapped_column(unique=True)
    status: Mapped[str] = mapped_column(default="indexing")
    file_key: Mapped[str]                       # the Parquet file as it came, less what was erased since
    source_sha256: Mapped[str]                  # of the file as it came
    tensors_key: Mapped[str | None]             # x and y in row order, made by the index job
    options: Mapped[dict[str, Any]]             # how to read it; see inspection.parquet.Options
    facts: Mapped[dict[str, Any]]               # rows, splits, classes, input; see inspection.parquet.Facts
    created_at: Mapped[CreatedAt]


class Sample(Base):
    """One row of a data set: where it is, and whose it is, for those who hold the index key."""

    __tablename__ = "sample"
    __table_args__ = (
        Index(None, "dataset_id", "sample_ref", unique=True),
        Index(None, "dataset_id", "subject_ref"),
    )

    dataset_id: Mapped[UUID] = mapped_column(ForeignKey("dataset.id"), primary_key=True)
    row: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    sample_ref: Mapped[bytes | None]            # None: the row is erased
    subject_ref: Mapped[bytes | None]
    split: Mapped[int] = mapped_column(SmallInteger)
    label: Mapped[int]
