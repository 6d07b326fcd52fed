"""Queries on the suppression list: keyed references of erased rows and persons, which no later data set may hold."""

from collections.abc import Sequence
from uuid import UUID

from sqlalchemy import exists, func, select, union
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session, aliased

from service.db.arrays import among
from service.db.leaving import certified
from service.db.tables import Canary, DeletionRequest, ForgetRow, Sample, Suppressed


def suppress(tx: Session, dataset_id: UUID, job_id: UUID) -> int:
    """Remember whom the job's certified requests name, and every row of them; returns how many references are new.

    Rows that still wait for another model are among them: this data set keeps them for a while, no later one gets them.
    Requests for classes name no person. Canaries are named by number, alike in every data set.
    """
    theirs, person = aliased(Sample), DeletionRequest.target_kind == "subjects"
    asked = (
        select(Sample.sample_ref, Sample.subject_ref, DeletionRequest.id, person.label("person"))
        .join(ForgetRow, ForgetRow.row == Sample.row).join(DeletionRequest)
        .where(
            Sample.dataset_id == dataset_id, certified(job_id), DeletionRequest.target_kind != "classes",
            ~exists().where(Canary.dataset_id == dataset_id, Canary.row == Sample.row),
        )
    ).cte()
    rows = select(asked.c.sample_ref, asked.c.id).where(asked.c.sample_ref.is_not(None))
    persons = select(asked.c.subject_ref, asked.c.id).where(asked.c.person, asked.c.subject_ref.is_not(None))
    others = (
        select(theirs.sample_ref, asked.c.id).join(asked, asked.c.subject_ref == theirs.subject_ref)
        .where(asked.c.person, theirs.dataset_id == dataset_id, theirs.sample_ref.is_not(None))
    )
    new = insert(Suppressed).from_select(["ref", "request_id"], union(rows, persons, others))
    return len(tx.scalars(new.on_conflict_do_nothing().returning(Suppressed.ref)).all())


def any_at_all(tx: Session) -> bool:
    """Whether the list has an entry."""
    return tx.scalar(select(Suppressed.ref).limit(1)) is not None


def among_these(tx: Session, refs: Sequence[bytes]) -> set[bytes]:
    """Those of the references that are on the list."""
    return set(tx.scalars(select(Suppressed.ref).where(among(Suppressed.ref, refs))))


def indexed(tx: Session, dataset_id: UUID) -> tuple[int, int]:
    """How many rows, and how many persons, of a data set's index are on the list."""
    of_dataset = Sample.dataset_id == dataset_id
    rows = select(func.count()).where(of_dataset, exists().where(Suppressed.ref == Sample.sample_ref))
    persons = select(func.count(Sample.subject_ref.distinct())).where(
        of_dataset, exists().where(Suppressed.ref == Sample.subject_ref)
    )
    return tx.scalars(rows).one(), tx.scalars(persons).one()
