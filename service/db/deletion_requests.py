"""Queries on deletion requests. A state moves only by `move`, which refuses what the state machine does not know."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import func, insert, not_, select, update
from sqlalchemy.orm import Session

from service.db.arrays import among
from service.db.jobs import clock
from service.db.session import flush_unless_taken
from service.db.tables import CommitmentSalt, DeletionRequest, ForgetRow, Job, RequestEvent, Sample
from service.db.tables.datasets import TRAIN
from service.domain.requests import ENDED, State, before
from service.errors import Conflict, NotFound


def add(tx: Session, request: DeletionRequest, *, rows: Mapping[int, bytes], salt: bytes) -> None:
    """Store it with its rows, each with its commitment."""
    tx.add(request)
    flush_unless_taken(tx, "There is a request with this external_id already")
    tx.execute(insert(ForgetRow), [
        {"request_id": request.id, "row": row, "commitment": commitment} for row, commitment in rows.items()
    ])
    tx.execute(insert(CommitmentSalt).values(request_id=request.id, salt=salt))
    record(tx, request.id, State.RECEIVED, {"n_samples": request.n_samples})


def get(tx: Session, request_id: UUID) -> DeletionRequest:
    request = tx.get(DeletionRequest, request_id)
    if request is None:
        raise NotFound("There is no deletion request of this id")
    return request


def lock(tx: Session, request_id: UUID) -> DeletionRequest:
    """The request, its row locked until the caller's transaction ends."""
    request = get(tx, request_id)
    tx.refresh(request, with_for_update=True)
    return request


def listing(
    tx: Session, *, limit: int, model_id: UUID | None, state: State | None, after: tuple[datetime, UUID] | None
) -> Sequence[DeletionRequest]:
    """Newest first; `after` is the (received_at, id) of the last one seen."""
    query = select(DeletionRequest).order_by(DeletionRequest.received_at.desc(), DeletionRequest.id.desc()).limit(limit)
    if model_id is not None:
        query = query.where(DeletionRequest.model_id == model_id)
    if state is not None:
        query = query.where(DeletionRequest.state == state)
    if after is not None:
        received, last = after
        query = query.where(
            (DeletionRequest.received_at < received)
            | ((DeletionRequest.received_at == received) & (DeletionRequest.id < last))
        )
    return tx.scalars(query).all()


def of_job(tx: Session, job_id: UUID) -> Sequence[DeletionRequest]:
    return tx.scalars(
        select(DeletionRequest).where(DeletionRequest.job_id == job_id).order_by(DeletionRequest.received_at)
    ).all()


def live(tx: Session, job_id: UUID) -> list[DeletionRequest]:
    """Those of the job's requests that have not ended."""
    return [request for request in of_job(tx, job_id) if request.state not in ENDED]


def record(tx: Session, request_id: UUID, kind: str, data: dict[str, Any]) -> None:
    tx.execute(insert(RequestEvent).values(request_id=request_id, kind=kind, data=data))


def move(tx: Session, request: DeletionRequest, state: State, data: dict[str, Any] | None = None) -> None:
    """Change the state and record the event; one statement decides, so two callers cannot both win.

    Raises:
        Conflict: the state machine knows no such step from where the request stands.
    """
    values: dict[str, Any] = {"state": state} | ({"ended_at": clock} if state in ENDED else {})
    moved = tx.scalar(
        update(DeletionRequest)
        .where(DeletionRequest.id == request.id, DeletionRequest.state.in_(before(state)))
        .values(values)
        .returning(DeletionRequest.id)
        .execution_options(synchronize_session=False)      # is refreshed below; a look at each of a job's many is not
    )
    if moved is None:
        raise Conflict(f"A request that is {request.state} cannot become {state}")
    record(tx, request.id, state, data or {})
    tx.refresh(request)


def certify(tx: Session, request: DeletionRequest, *, version_id: UUID, verdict: str, report_key: str) -> None:
    """The happy end: what forgot, what the audit said, where the report lies."""
    request.version_id, request.verdict, request.report_key = version_id, verdict, report_key
    tx.flush()
    move(tx, request, State.CERTIFIED, {"verdict": verdict})


def judge_anew(tx: Session, request: DeletionRequest, *, verdict: str, report_key: str) -> None:
    """What a later audit said of the version that forgot."""
    request.verdict, request.report_key = verdict, report_key
    tx.flush()


def events(tx: Session, request_id: UUID, *, after: int) -> Sequence[RequestEvent]:
    newer = select(RequestEvent).where(RequestEvent.request_id == request_id, RequestEvent.id > after)
    return tx.scalars(newer.order_by(RequestEvent.id)).all()


def salt(tx: Session, request_id: UUID) -> bytes | None:
    return tx.scalar(select(CommitmentSalt.salt).where(CommitmentSalt.request_id == request_id))


def waiting_job(tx: Session, model_id: UUID) -> Job | None:
    """A queued unlearning job of this model that a new request can still join; locked until the caller commits."""
    return tx.scalar(
        select(Job).where(Job.model_id == model_id, Job.kind == "unlearn", Job.status == "queued", Job.attempt == 0)
        .order_by(Job.created_at).limit(1).with_for_update(skip_locked=True)
    )


_LIVE = DeletionRequest.state.not_in([State.CANCELLED, State.REFUSED, State.FAILED])


def kinds_of_job(tx: Session, job_id: UUID) -> set[str]:
    """The kinds of the targets of a job's live requests."""
    return set(tx.scalars(select(DeletionRequest.target_kind).where(DeletionRequest.job_id == job_id, _LIVE)))


def rows(tx: Session, request_id: UUID) -> Sequence[int]:
    """The training rows that a request names."""
    return tx.scalars(select(ForgetRow.row).where(ForgetRow.request_id == request_id).order_by(ForgetRow.row)).all()


def rows_of_job(tx: Session, job_id: UUID) -> list[int]:
    """D_f of a job: the training rows that its live requests name."""
    rows = select(ForgetRow.row).join(DeletionRequest).where(DeletionRequest.job_id == job_id, _LIVE)
    return list(tx.scalars(rows.distinct().order_by(ForgetRow.row)))


def rows_forgotten(tx: Session, model_id: UUID) -> set[int]:
    """The cumulative forget set: rows that must never be in D_r again."""
    done = (DeletionRequest.model_id == model_id) & (DeletionRequest.state == State.CERTIFIED)
    return set(tx.scalars(select(ForgetRow.row).join(DeletionRequest).where(done)))


def left_per_class(tx: Session, model_id: UUID, dataset_id: UUID, rows: Sequence[int]) -> dict[int, tuple[int, int]]:
    """label → (training rows now, training rows that would stay without `rows` and all open or certified requests)."""
    asked = (
        select(ForgetRow.row).join(DeletionRequest)
        .where(DeletionRequest.model_id == model_id, _LIVE)
    )
    kept = Sample.row.not_in(asked)
    counts = (
        select(Sample.label, func.count().filter(kept), func.count().filter(kept & not_(among(Sample.row, rows))))
        .where(Sample.dataset_id == dataset_id, Sample.split == TRAIN)
        .group_by(Sample.label)
    )
    return {label: (now, stay) for label, now, stay in tx.execute(counts)}


def refuse_unless_alone(tx: Session, request: DeletionRequest) -> None:
    """Raises Conflict when the request has ended, or shares its running job with others."""
    if request.state in ENDED:
        raise Conflict(f"A request that is {request.state} cannot be cancelled")
    n = len(live(tx, request.job_id)) if request.job_id else 0
    if n > 1:
        raise Conflict(f"The job is running for {n} requests; one of them cannot leave it now")
