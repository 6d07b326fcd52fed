"""Queries on planted rows: whether they may be planted, planting them, and which of them an audit may use."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, exists, func, insert, select, update
from sqlalchemy.orm import Session

from service.db.arrays import among
from service.db.jobs import OPEN
from service.db.tables import CANARY, ERASED, TRAIN, Canary, Dataset, Job, Model, ModelVersion, Sample
from service.domain.canaries import sample_id
from service.errors import BadInput, Conflict, Fault, NotFound, NotYet


@dataclass(frozen=True, slots=True)
class Planted:
    """One canary to be stored."""

    sample_ref: bytes
    base_row: int
    label: int
    included: bool


def lock(tx: Session, dataset: Dataset) -> None:
    """Nobody registers a model on the data set, or plants in it, until the caller's transaction ends."""
    tx.refresh(dataset, with_for_update=True)


def refuse_unless_untouched(tx: Session, dataset: Dataset) -> None:
    """Raises Conflict when the data set is not indexed, has a model, or has canaries or is about to."""
    if dataset.status != "ready":
        raise Conflict(f"The data set is {dataset.status}; canaries are planted once it is ready")
    if tx.scalar(select(Model.id).where(Model.dataset_id == dataset.id).limit(1)) is not None:
        raise Conflict("A model is registered on the data set; canaries are planted before any training")
    if _any(tx, dataset.id) or _last_job(tx, dataset.id, OPEN) is not None:
        raise Conflict("The data set has canaries already")


def refuse_unless_enough(tx: Session, dataset: Dataset, m: int) -> None:
    """Raises BadInput when there are too few training rows to copy, or no second label to give."""
    rows, labels = tx.execute(
        select(func.count(), func.count(Sample.label.distinct()))
        .where(Sample.dataset_id == dataset.id, Sample.split == TRAIN)
    ).one()
    if m > rows:
        detail = f"each canary is made from another training row, and there are {rows}"
        raise BadInput(f"There cannot be {m} canaries: {detail}", faults=[Fault("/m", detail)])
    if labels < 2:
        raise BadInput("A canary has a wrong label, and the training rows have only one")


def refuse_taken(tx: Session, dataset_id: UUID, refs: Sequence[bytes]) -> None:
    """Raises Conflict when rows of the file bear the names of canaries."""
    named = select(Sample.row).where(Sample.dataset_id == dataset_id, among(Sample.sample_ref, refs)).limit(1)
    if tx.scalar(named) is not None:
        raise Conflict("Rows of the data set have the sample ids that canaries get; rename them")


def _any(tx: Session, dataset_id: UUID) -> bool:
    return tx.scalar(select(Canary.row).where(Canary.dataset_id == dataset_id).limit(1)) is not None


def _last_job(tx: Session, dataset_id: UUID, statuses: Sequence[str]) -> Job | None:
    return tx.scalar(
        select(Job).where(Job.dataset_id == dataset_id, Job.kind == "canaries", Job.status.in_(statuses))
        .order_by(Job.created_at.desc()).limit(1)
    )


def train_labels(tx: Session, dataset_id: UUID) -> Sequence[tuple[int, int]]:
    """(row, label) of every training row, in row order."""
    found = tx.execute(
        select(Sample.row, Sample.label).where(Sample.dataset_id == dataset_id, Sample.split == TRAIN)
        .order_by(Sample.row)
    )
    return [(row, label) for row, label in found]


def plant(tx: Session, dataset_id: UUID, planted: Sequence[Planted], *, tensors_key: str) -> None:
    """Index the new rows behind the old ones, remember the coins, and move the data set to its new tensors."""
    dataset = tx.scalars(select(Dataset).where(Dataset.id == dataset_id).with_for_update()).one()
    refuse_unless_ours(tx, dataset)
    first = dataset.facts["rows"]
    places = list(enumerate(planted, start=first))
    tx.execute(insert(Sample), [
        {"dataset_id": dataset_id, "row": row, "sample_ref": each.sample_ref, "subject_ref": None,
         "split": TRAIN if each.included else CANARY, "label": each.label}
        for row, each in places
    ])
    tx.execute(insert(Canary), [
        {"dataset_id": dataset_id, "row": row, "number": row - first, "base_row": each.base_row,
         "included": each.included}
        for row, each in places
    ])
    facts = _grown(dataset.facts, planted)
    tx.execute(update(Dataset).where(Dataset.id == dataset_id).values(tensors_key=tensors_key, facts=facts))


def refuse_unless_ours(tx: Session, dataset: Dataset) -> None:
    """Raises Conflict when somebody planted, or indexed anew, while the canaries were made."""
    if dataset.status != "ready" or _any(tx, dataset.id):
        raise Conflict("The data set changed while its canaries were made")


def _grown(facts: dict[str, Any], planted: Sequence[Planted]) -> dict[str, Any]:
    included = sum(each.included for each in planted)
    splits = facts["splits"] | {"train": facts["splits"]["train"] + included, "canary": len(planted) - included}
    return facts | {"rows": facts["rows"] + len(planted), "splits": splits}


def listing(tx: Session, dataset_id: UUID) -> tuple[int, list[str]]:
    """How many canaries there are, erased ones not counted, and the sample ids of the included ones.

    Raises:
        NotYet: they are being planted.
        NotFound: nobody planted any.
    """
    found = tx.execute(
        select(Canary.number, Canary.included).where(_there(dataset_id)).order_by(Canary.number)
    ).all()
    if not found and not _any(tx, dataset_id):
        if _last_job(tx, dataset_id, OPEN) is not None:
            raise NotYet("The canaries are being planted")
        raise NotFound("No canaries were planted in this data set")
    return len(found), [sample_id(number) for number, included in found if included]


def _there(dataset_id: UUID) -> ColumnElement[bool]:
    """Whether a canary is one of the data set's, and was not erased with its base row."""
    gone = (Sample.dataset_id == dataset_id) & (Sample.row == Canary.row) & (Sample.split == ERASED)
    return (Canary.dataset_id == dataset_id) & ~exists().where(gone)


def usable(
    tx: Session, *, dataset_id: UUID, model_id: UUID, forget: Collection[int], forgotten: Collection[int]
) -> tuple[list[int], list[int]] | None:
    """Rows of the canaries that this job forgets, and of those never in; None unless it forgets all that are in.

    A canary whose base row was forgotten earlier went with it; whatever its coin, it is left out here, so that what is
    left is still divided by fair coins alone. Canaries say nothing of weights that were not trained here.
    """
    number_one = select(ModelVersion.origin).where(ModelVersion.model_id == model_id, ModelVersion.number == 1)
    if tx.scalar(number_one) != "trained":
        return None
    planted = tx.execute(
        select(Canary.row, Canary.base_row, Canary.included).where(_there(dataset_id)).order_by(Canary.row)
    ).all()
    earlier, now = set(forgotten), set(forget)
    left = [(row, included) for row, base, included in planted if base not in earlier]
    inside, outside = ([row for row, included in left if included is side] for side in (True, False))
    return (inside, outside) if inside and outside and now.issuperset(inside) else None


def rows(tx: Session, dataset_id: UUID) -> set[int]:
    """Of all canaries, whatever their coins."""
    return set(tx.scalars(select(Canary.row).where(Canary.dataset_id == dataset_id)))
