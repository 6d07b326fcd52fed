"""Taking in a deletion request: resolve its ids, refuse what cannot be served, commit to its rows, schedule it."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Annotated

from pydantic import Field
from sqlalchemy.orm import Session

from service.db import datasets, deletion_requests, jobs, models
from service.db.tables import DeletionRequest, Model
from service.domain import commitments
from service.domain.commitments import commitment, new_salt, reference
from service.domain.policy import Policy
from service.domain.requests import DUE_BASIS, Classes, ExternalId, Ground, Samples, State, Subjects, Target, due
from service.domain.values import Name, Value
from service.errors import BadInput, Fault, NothingLeft, UnknownClass, UnknownSamples


class NewDeletionRequest(Value):
    """What is to be forgotten, by which model, and on which ground of GDPR Art. 17(1)."""

    model: Name
    target: Target
    ground: Ground = "art-17-1-b"
    external_id: Annotated[ExternalId | None, Field(description="Your own id of it; unique.")] = None


def submit(tx: Session, body: NewDeletionRequest, *, index_key: bytes, max_attempts: int) -> DeletionRequest:
    """Store the request and put it into the model's next unlearning job.

    Raises:
        NoVersion, UnknownSamples, UnknownClass, NothingLeft, AlreadyExists: and nothing has changed.
    """
    model = models.lock(tx, body.model)     # two requests must not empty a class together
    models.active(tx, model.id)
    _refuse_the_impossible(model, body.target)
    rows = resolve(tx, model, body.target, index_key)
    _refuse_to_empty(tx, model, body.target, rows)
    request = _record(tx, model, body, rows)
    _schedule(tx, request, max_attempts)
    return request


def _refuse_the_impossible(model: Model, target: Target) -> None:
    policy = Policy.model_validate(model.policy)
    if not policy.rungs([target.kind]):
        names = ", ".join(method.name for method in policy.ladder)
        detail = f"no method of the model's policy ({names}) can forget {target.kind}; retrain can"
        raise BadInput(f"The request cannot be served: {detail}", faults=[Fault("/target/kind", detail)])


def resolve(tx: Session, model: Model, target: Target, index_key: bytes) -> list[int]:
    """The training rows that a target names.

    Raises:
        UnknownSamples, UnknownClass: some of its ids name none.
    """
    asked = len(set(target.ids))
    match target:
        case Classes(ids=labels):
            rows, found = datasets.rows_of_classes(tx, model.dataset_id, labels)
        case Samples(ids=ids):
            refs = [reference(index_key, "sample", each) for each in set(ids)]
            rows, found = datasets.rows_of_samples(tx, model.dataset_id, refs)
        case Subjects(ids=ids):
            refs = [reference(index_key, "subject", each) for each in set(ids)]
            rows, found = datasets.rows_of_subjects(tx, model.dataset_id, refs)
    if found < asked:
        unknown = UnknownClass if isinstance(target, Classes) else UnknownSamples
        raise unknown(datasets.by_id(tx, model.dataset_id).name, missing=asked - found, asked=asked)
    return rows


def _refuse_to_empty(tx: Session, model: Model, target: Target, rows: Sequence[int]) -> None:
    """Whole classes may go only when classes were asked for, and two must stay: one is nothing to tell apart."""
    counts = deletion_requests.left_per_class(tx, model.id, model.dataset_id, rows)
    left = [label for label, (_, stay) in counts.items() if stay]
    emptied = [label for label, (now, stay) in counts.items() if now and not stay]
    if len(left) < 2:
        detail = f"{len(left)} classes would keep training rows, and a classifier needs 2"
        raise NothingLeft(f"After this request {detail}", faults=[Fault("/target/ids", detail)])
    if emptied and not isinstance(target, Classes):
        detail = f"{len(emptied)} of {len(counts)} classes would lose their last training row"
        raise NothingLeft(f"By this request {detail}", faults=[Fault("/target/ids", detail)])


def _record(tx: Session, model: Model, body: NewDeletionRequest, rows: Sequence[int]) -> DeletionRequest:
    salt, now = new_salt(), datetime.now(UTC)
    refs = datasets.sample_refs(tx, model.dataset_id, rows)
    committed = dict(zip(rows, (commitment(salt, ref) for ref in refs), strict=True))
    request = DeletionRequest(
        model_id=model.id,
        state=State.RECEIVED,
        target_kind=body.target.kind,
        n_targets=len(set(body.target.ids)),
        n_samples=len(rows),
        ground=body.ground,
        external_id=body.external_id,
        forget_root=commitments.root(committed.values()),
        received_at=now,
        due_at=due(now),
        due_basis=DUE_BASIS,
    )
    deletion_requests.add(tx, request, rows=committed, salt=salt)
    return request


def _schedule(tx: Session, request: DeletionRequest, max_attempts: int) -> None:
    """Join the model's next job while nobody has started it; else open one."""
    job = deletion_requests.waiting_job(tx, request.model_id)
    if job is None:
        job = jobs.add(tx, "unlearn", model_id=request.model_id, max_attempts=max_attempts)
    request.job_id = job.id
    tx.flush()
    deletion_requests.move(tx, request, State.SCHEDULED, {"job": str(job.id)})


def cancel(tx: Session, request: DeletionRequest) -> None:
    """Withdraw a request: at once while no worker has its job, within a step while its job runs for it alone.

    Raises:
        Conflict: it has ended, or its job has begun for other requests as well.
    """
    job = None if request.job_id is None else jobs.lock(tx, request.job_id)
    if job is not None and job.status in jobs.HOLDING:
        deletion_requests.refuse_unless_alone(tx, request)
        jobs.cancel(tx, job.id)
    if job is None or job.status != "running":
        deletion_requests.move(tx, request, State.CANCELLED)
    if job is not None and job.status == "queued" and not deletion_requests.rows_of_job(tx, job.id):
        jobs.cancel(tx, job.id)
