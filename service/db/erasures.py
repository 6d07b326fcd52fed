"""Queries on erasure: when it is due, what remembers, and what has been taken away."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple
from uuid import UUID

from sqlalchemy import Text, cast, exists, func, or_, select, update
from sqlalchemy.orm import Session

from service.db import datasets, deletion_requests, jobs, models, recipe_audits, references
from service.db.tables import Dataset, Job, ModelVersion, Purge, ReferenceModel
from service.domain.certificates import ErasedKind, Thing
from service.domain.policy import Erasure
from service.storage import digest_of

ATTEMPTS = 50       # of an erasure: a store may be away for days, and nobody asks for it a second time


class Object(NamedTuple):
    """An object of the store that remembers."""

    kind: ErasedKind
    key: str

    @property
    def thing(self) -> Thing:
        return Thing(kind=self.kind, sha256=digest_of(self.key))


@dataclass(frozen=True, slots=True)
class Promise:
    """What a certificate says of the erasure that follows it."""

    by: datetime
    objects: tuple[Object, ...]
    rows: bool              # whether those of the data set go too


def schedule(tx: Session, job: Job, version: ModelVersion, wanted: Erasure) -> Promise:
    """Queue what follows an unlearning job, for the end of the grace or for the first legal date before that."""
    now = datetime.now(UTC)
    dates = [request.due_at for request in deletion_requests.live(tx, job.id)]
    by = max(now, min([now + timedelta(days=wanted.grace_days), *dates]))
    queue(tx, version.model_id, {"unlearn": str(job.id), "rows": wanted.rows}, at=by)
    dataset = datasets.by_id(tx, models.by_id(tx, version.model_id).dataset_id)
    rows = of_rows(dataset) if wanted.rows else []
    return Promise(by, (*_weights(models.superseded(tx, version)), *rows), wanted.rows)


def queue(tx: Session, model_id: UUID, payload: Mapping[str, Any], *, at: datetime) -> None:
    """An erase job, whose model no other job has meanwhile."""
    jobs.add(tx, "erase", model_id=model_id, max_attempts=ATTEMPTS, payload=payload, not_before=at)


def _weights(versions: Iterable[ModelVersion]) -> list[Object]:
    return [Object("weights", each.weights_key) for each in versions]


def of_rows(dataset: Dataset) -> list[Object]:
    """The file of a data set and its tensors."""
    tensors = [] if dataset.tensors_key is None else [Object("dataset-rows", dataset.tensors_key)]
    return [Object("dataset-file", dataset.file_key), *tensors]


def remembering(
    tx: Session, version: ModelVersion, dataset_id: UUID, *, keep: Collection[str], before: datetime
) -> list[Object]:
    """What was made before this version forgot, less the rows themselves.

    Args:
        keep: keys, in hex, of the retrained models that are known never to have seen the rows.
        before: references and shadows made since have not seen them either.
    """
    saw = references.strangers(tx, dataset_id, keep=keep, before=before)
    return [
        *_weights(models.superseded(tx, version)),
        *(Object("reference", each.weights_key) for each in saw),
        *(Object("shadows", key) for key in recipe_audits.scores(tx, dataset_id, before=before)),
    ]


def detach(
    tx: Session, version: ModelVersion, dataset_id: UUID, *, keep: Collection[str], before: datetime
) -> list[Object]:
    """The same, and from now on no row names it."""
    found = remembering(tx, version, dataset_id, keep=keep, before=before)
    for each in models.superseded(tx, version):
        each.erased_at = datetime.now(UTC)
    for reference in references.strangers(tx, dataset_id, keep=keep, before=before):
        tx.delete(reference)
    recipe_audits.drop_scores(tx, dataset_id, before=before)
    tx.flush()
    return found


# ---- what is taken away ---------------------------------------------------------------------------------------------


def note(tx: Session, job_id: UUID, objects: Iterable[Object], *, absent: Collection[str] = ()) -> None:
    """Write down what is to be deleted, each object once, before anything is; `absent` is gone already."""
    known = set(tx.scalars(select(Purge.store_key).where(Purge.job_id == job_id)))
    new = {each.key: each for each in objects if each.key not in known}
    tx.add_all(
        Purge(
            job_id=job_id, kind=each.kind, store_key=each.key,
            outcome="absent" if each.key in absent else None,
        )
        for each in new.values()
    )
    tx.flush()


def unnote(tx: Session, job_id: UUID, keys: Sequence[str]) -> None:
    """These came into use."""
    for purge in tx.scalars(select(Purge).where(Purge.job_id == job_id, Purge.store_key.in_(keys))):
        tx.delete(purge)
    tx.flush()


def noted(tx: Session, job_id: UUID) -> Sequence[Purge]:
    """All that the job was to take away, in a fixed order."""
    return tx.scalars(select(Purge).where(Purge.job_id == job_id).order_by(Purge.kind, Purge.store_key)).all()


def named(tx: Session, key: str) -> bool:
    """Whether a row that counts still names the object: it is shared, and stays."""
    here = (
        exists().where(ModelVersion.weights_key == key, ModelVersion.erased_at.is_(None)),
        exists().where(or_(Dataset.file_key == key, Dataset.tensors_key == key)),
        exists().where(ReferenceModel.weights_key == key),
        exists().where(func.strpos(cast(Job.result, Text), key) > 0),
    )
    return tx.scalars(select(or_(*here))).one()


def settle(tx: Session, outcomes: Mapping[UUID, str]) -> None:
    """Write down how it went, by the purges' ids."""
    for purge_id, outcome in outcomes.items():
        tx.execute(update(Purge).where(Purge.id == purge_id).values(outcome=outcome, done_at=jobs.clock))
