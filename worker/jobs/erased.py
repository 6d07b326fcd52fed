"""What is told of an erasure: to the ledger, to the requests, and to whoever reads the job."""

from collections import Counter
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from itertools import product
from uuid import UUID, uuid5

from sqlalchemy.orm import Session

from service.db import deletion_requests
from service.db.tables import Job, ModelVersion, Purge
from service.domain.certificates import Thing
from service.domain.entries import Erased, Kept
from service.domain.requests import State
from service.ledger import append
from service.ledger.keys import Keys
from service.storage import digest_of

LIMITS = (
    "Backups, replicas and write-ahead logs of the database lose it when they expire, and are not covered.",
    "Versions that a store keeps in spite of a deletion are not covered.",
    "That the places on a medium are overwritten is not shown.",
    "Copies outside this service, and objects that a crash left in the store without a name, are not covered.",
    "Weights that somebody registers anew, as a model or a version of their own, are not covered.",
)
SHARED = "Another model, data set or job still names the object."
WAITING = "Another model of the data set, or an open request, has yet to forget these rows."
POLICY = "The policy of the model keeps the rows of its data set."
AT_WORK = "An audit of a recipe that may have learned from the rows is at work; its scores are deleted when it ends."
THINGS = 200        # that one entry names at most; see `append.PART`


def tell(
    tx: Session, keys: Keys, job: Job, version: ModelVersion, purges: Sequence[Purge], *, at_work: int
) -> dict[str, object]:
    """Tell the ledger and the requests; returns the job's result. Of a later look that found nothing none is told."""
    erased = [_thing(each) for each in purges if each.outcome == "erased"]
    kept, gone = _kept(job, purges, at_work), job.payload["erased"]
    if erased or gone["rows"] or "told" not in job.payload:
        ids = _certified(tx, job)
        _record(tx, keys, job, version, ids, erased, kept)
        for request_id in ids:
            told = {"objects": len(erased), "rows": gone["rows"], "kept": sum(each.count for each in kept)}
            deletion_requests.record(tx, request_id, "erased", told)
    return {"objects": dict(Counter(each.kind for each in erased)), "kept": [k.model_dump() for k in kept], **gone}


def _thing(purge: Purge) -> Thing:
    return Thing.model_validate({"kind": purge.kind, "sha256": digest_of(purge.store_key)})


def _kept(job: Job, purges: Sequence[Purge], at_work: int) -> tuple[Kept, ...]:
    shared = Counter(each.kind for each in purges if each.outcome == "shared")
    waiting, why = job.payload["erased"]["waiting"], WAITING if job.payload["rows"] else POLICY
    return (
        *(Kept.model_validate({"kind": kind, "count": n, "why": SHARED}) for kind, n in sorted(shared.items())),
        *((Kept(kind="dataset-rows", count=waiting, why=why),) if waiting else ()),
        *((Kept(kind="shadows", count=at_work, why=AT_WORK),) if at_work else ()),
    )


def _certified(tx: Session, job: Job) -> list[UUID]:
    served = deletion_requests.of_job(tx, UUID(job.payload["unlearn"]))
    return [request.id for request in served if request.state == State.CERTIFIED]


def _record(
    tx: Session, keys: Keys, job: Job, version: ModelVersion, ids: Sequence[UUID], erased: Sequence[Thing],
    kept: tuple[Kept, ...],
) -> None:
    """One entry, or several where it would be too long."""
    subjects, gone, at = {"model-after": digest_of(version.weights_key)}, job.payload["erased"], datetime.now(UTC)
    for number, (part, things) in enumerate(product(append.parts(ids), _parts(erased))):
        entry = Erased(
            request_ids=part, job_id=job.id, erased=things, kept=kept, rows=gone["rows"],
            suppressed=gone["suppressed"], limits=LIMITS, at=at,
        )
        named = uuid5(job.id, f"erased {number}")
        append.record(tx, entry, keys.certificate, subjects=subjects, requests=part, entry_id=named)


def _parts(things: Sequence[Thing]) -> Iterator[tuple[Thing, ...]]:
    for first in range(0, max(1, len(things)), THINGS):
        yield tuple(things[first : first + THINGS])
