"""Queries on rows that leave a data set: which may go, where they stand, and that they are gone."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, exists, func, or_, select, update
from sqlalchemy.orm import Session, aliased

from service.db import deletion_requests
from service.db.arrays import among
from service.db.tables import (
    CANARY,
    ERASED,
    HOLDOUT,
    TRAIN,
    VALIDATION,
    Canary,
    Dataset,
    DeletionRequest,
    ForgetRow,
    Model,
    ModelVersion,
    Sample,
)
from service.domain.requests import ENDED, State
from service.errors import Unavailable

NAMES = {TRAIN: "train", VALIDATION: "validation", HOLDOUT: "holdout", CANARY: "canary", ERASED: "erased"}


@dataclass(frozen=True, slots=True)
class Leaving:
    """Rows of a data set that may be erased, and those that have to wait until others have forgotten them."""

    rows: list[int]
    waiting: list[int]


def lock(tx: Session, dataset_id: UUID) -> Dataset:
    """Nobody asks to forget rows of the data set, or registers a model on it, until the caller's transaction ends."""
    dataset = tx.scalars(select(Dataset).where(Dataset.id == dataset_id).with_for_update()).one()
    tx.refresh(dataset)
    tx.execute(select(Model.id).where(Model.dataset_id == dataset_id).order_by(Model.id).with_for_update())
    return dataset


def of_model(tx: Session, model_id: UUID) -> Dataset:
    """The data set that a model learned from."""
    return tx.scalars(select(Dataset).join(Model).where(Model.id == model_id)).one()


def refuse_moved(tx: Session, known: Dataset) -> None:
    """Raises Unavailable when the objects of a data set are others than those that are known: begin anew with these."""
    now = tx.get_one(Dataset, known.id)
    if (now.file_key, now.tensors_key) != (known.file_key, known.tensors_key):
        raise Unavailable("Rows of the data set were erased meanwhile; the job begins anew")


def leaving(tx: Session, dataset_id: UUID, job_id: UUID) -> Leaving:
    """The rows that the certified requests of an unlearning job name, with every copy of their inputs.

    A request for persons means all of their rows, whatever the split. A training row waits while a model that has a
    version has not forgotten it, or an open request names it.
    """
    there = (Sample.dataset_id == dataset_id) & (Sample.split != ERASED)
    named = tx.execute(select(Sample.row, Sample.split).where(there, named_by(dataset_id, job_id))).all()
    copies = tx.execute(
        select(Sample.row, Sample.split)
        .join(Canary, (Canary.dataset_id == Sample.dataset_id) & (Canary.row == Sample.row))
        .where(there, among(Canary.base_row, [row for row, _ in named]))
    ).all()
    splits = {each.row: each.split for each in (*named, *copies)}
    train = {row for row, split in splits.items() if split == TRAIN}
    waiting = train - _forgotten_by_all(tx, dataset_id) | train & _asked(tx, dataset_id)
    return Leaving(sorted(splits.keys() - waiting), sorted(waiting))


def named_by(dataset_id: UUID, job_id: UUID) -> ColumnElement[bool]:
    """Whether a sample is one that the job's certified requests name, or another row of a person whom they name."""
    rows = select(ForgetRow.row).join(DeletionRequest).where(certified(job_id))
    theirs = aliased(Sample)
    persons = (
        select(theirs.subject_ref).join(ForgetRow, ForgetRow.row == theirs.row).join(DeletionRequest)
        .where(theirs.dataset_id == dataset_id, certified(job_id), DeletionRequest.target_kind == "subjects")
    )
    return or_(Sample.row.in_(rows), Sample.subject_ref.in_(persons))


def certified(job_id: UUID) -> ColumnElement[bool]:
    """Whether a request is one that the job has served."""
    return (DeletionRequest.job_id == job_id) & (DeletionRequest.state == State.CERTIFIED)


def _forgotten_by_all(tx: Session, dataset_id: UUID) -> set[int]:
    """Rows that every model with a version has forgotten."""
    trained = exists().where(ModelVersion.model_id == Model.id)
    found = tx.scalars(select(Model.id).where(Model.dataset_id == dataset_id, trained))
    each = [deletion_requests.rows_forgotten(tx, model_id) for model_id in found]
    return set[int].intersection(*each)


def _asked(tx: Session, dataset_id: UUID) -> set[int]:
    """Rows that open requests name: until these have ended, somebody looks at the rows."""
    still = (Model.dataset_id == dataset_id) & DeletionRequest.state.not_in(ENDED)
    return set(tx.scalars(select(ForgetRow.row).join(DeletionRequest).join(Model).where(still)))


def places(tx: Session, dataset_id: UUID, rows: Sequence[int]) -> list[int]:
    """Where rows stand in the data set's file, counted from 0: canaries never stood there, erased rows no longer do."""
    planted = select(Canary.row).where(Canary.dataset_id == dataset_id)
    there = (Sample.dataset_id == dataset_id) & (Sample.split != ERASED) & Sample.row.not_in(planted)
    wanted = set(rows)
    ordered = tx.scalars(select(Sample.row).where(there).order_by(Sample.row))
    return [place for place, row in enumerate(ordered) if row in wanted]


def erase(tx: Session, dataset: Dataset, rows: Sequence[int], *, file_key: str, tensors_key: str) -> None:
    """Take the rows out of the index; they keep their numbers, so that the others keep theirs."""
    tx.execute(
        update(Sample).where(Sample.dataset_id == dataset.id, among(Sample.row, rows))
        .values(sample_ref=None, subject_ref=None, split=ERASED, label=0)
        .execution_options(synchronize_session=False)
    )
    dataset.file_key, dataset.tensors_key, dataset.facts = file_key, tensors_key, _facts(tx, dataset)
    tx.flush()


def _facts(tx: Session, dataset: Dataset) -> dict[str, Any]:
    counted = tx.execute(
        select(Sample.split, func.count()).where(Sample.dataset_id == dataset.id).group_by(Sample.split)
    )
    splits = {NAMES[split]: n for split, n in counted}
    known = {name: splits.get(name, 0) for name in (*dataset.facts["splits"], "erased")}
    return dataset.facts | {"splits": known} | _people(tx, dataset)


def _people(tx: Session, dataset: Dataset) -> dict[str, int]:
    """How many there are, and how many of them in more than one split."""
    if dataset.facts["subjects"] is None:
        return {}
    each = (
        select(func.count(Sample.split.distinct()).label("splits"))
        .where(Sample.dataset_id == dataset.id, Sample.subject_ref.is_not(None)).group_by(Sample.subject_ref)
    ).subquery()
    n, shared = tx.execute(select(func.count(), func.count().filter(each.c.splits > 1)).select_from(each)).one()
    return {"subjects": n, "shared_subjects": shared}


def refuse_erased(tx: Session, dataset_id: UUID, rows: Sequence[int]) -> None:
    """Raises Unavailable when one of these rows is erased; until the transaction ends, no other row will be."""
    tx.execute(select(Dataset.id).where(Dataset.id == dataset_id).with_for_update(read=True))
    gone = (Sample.dataset_id == dataset_id) & (Sample.split == ERASED) & among(Sample.row, rows)
    if tx.scalar(select(Sample.row).where(gone).limit(1)) is not None:
        raise Unavailable("Rows that were learned from were erased meanwhile; the job begins anew")
