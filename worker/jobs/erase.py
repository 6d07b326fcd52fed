"""Erase what still remembers the rows of an unlearning job, when its grace is over.

    1. Make the data set's file and tensors anew without the rows; what is put into the store is written down before.
    2. One transaction: rows leave the index, nothing names the old objects any more, and each is written down.
    3. Delete the objects one by one, but none that something else still names.
    4. One transaction: how each went, what the ledger is told, an event for each request, the end of the job.

A worker that dies between any two instructions is followed by one that comes to the same end.
"""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from uuid import UUID

from sqlalchemy.orm import Session

from service.db import erasures, jobs, leaving, models, recipe_audits, suppressions
from service.db.jobs import Claim
from service.db.leaving import Leaving
from service.db.session import transaction
from service.db.tables import Dataset, Job, ModelVersion, Purge
from service.errors import Unavailable
from worker.jobs.erased import tell
from worker.jobs.pulse import Pulse
from worker.jobs.renewed import Renewed, renewed
from worker.jobs.workshop import Workshop

AGAIN = timedelta(hours=1)      # until one looks whether an audit of a recipe has ended


@dataclass(frozen=True)
class Task:
    """What an unlearning job has left behind."""

    job: Job                        # the erasure
    unlearned: Job
    version: ModelVersion           # that has forgotten
    dataset: Dataset
    leaving: Leaving
    before: datetime                # what is younger never learned from the rows

    @property
    def rows(self) -> list[int]:
        """Of the data set, that go now."""
        return self.leaving.rows if self.job.payload["rows"] else []

    @property
    def known(self) -> list[str]:
        """Keys of the retrained models that the job compared with: they never saw the rows."""
        return self.unlearned.result.get("references", [])


def run(workshop: Workshop, job: Job, claim: Claim, pulse: Pulse) -> None:
    """Take the work up where the last worker left it."""
    if "erased" not in job.payload:
        with transaction(workshop.engine) as tx:
            task = _task(tx, job)
        new = renewed(workshop, claim, task.dataset, task.rows) if task.rows else None      # 1
        _detach(workshop, claim, task, new, _absent(workshop, task))    # 2
    with transaction(workshop.engine) as tx:
        purges, phase = erasures.noted(tx, job.id), pulse.phase("erase")
    outcomes: dict[UUID, str] = {}
    for done, purge in enumerate(purges, start=1):
        outcomes[purge.id] = purge.outcome or _delete(workshop, purge)      # 3
        phase(done, len(purges))
    _conclude(workshop, claim, outcomes)    # 4


def _task(tx: Session, job: Job) -> Task:
    unlearned, told = jobs.get(tx, UUID(job.payload["unlearn"])), job.payload.get("before")
    version = models.made_by(tx, unlearned.id)
    dataset = leaving.of_model(tx, version.model_id)
    before = datetime.now(UTC) if told is None else datetime.fromisoformat(told)
    return Task(job, unlearned, version, dataset, leaving.leaving(tx, dataset.id, unlearned.id), before)


def _absent(workshop: Workshop, task: Task) -> set[str]:
    """Keys of objects that somebody has deleted before us."""
    with transaction(workshop.engine) as tx:
        found = erasures.remembering(tx, task.version, task.dataset.id, keep=task.known, before=task.before)
    return {each.key for each in found if not workshop.store.exists(each.key)}


def _detach(workshop: Workshop, claim: Claim, task: Task, new: Renewed | None, absent: Collection[str]) -> None:
    with transaction(workshop.engine) as tx:
        job = jobs.hold(tx, claim)
        dataset = leaving.lock(tx, task.dataset.id)
        wanted = task.job.payload["rows"]
        suppressed = suppressions.suppress(tx, dataset.id, task.unlearned.id) if wanted else 0
        if new is not None:
            _take_rows(tx, task, dataset, new)
        objects = erasures.detach(tx, task.version, dataset.id, keep=task.known, before=task.before)
        erasures.note(tx, job.id, objects, absent=absent)
        gone = {"rows": len(task.rows), "waiting": len(task.leaving.rows) + len(task.leaving.waiting) - len(task.rows)}
        told = {"before": task.before.isoformat(), "erased": gone | {"suppressed": suppressed}}
        job.payload = job.payload | told


def _take_rows(tx: Session, task: Task, dataset: Dataset, new: Renewed) -> None:
    leaving.refuse_moved(tx, task.dataset)
    if leaving.leaving(tx, dataset.id, task.unlearned.id) != task.leaving:
        raise Unavailable("Who needs the rows of the data set changed while it was written anew")
    erasures.note(tx, task.job.id, erasures.of_rows(task.dataset))
    erasures.unnote(tx, task.job.id, [new.file, new.tensors])
    leaving.erase(tx, dataset, task.rows, file_key=new.file, tensors_key=new.tensors)


def _delete(workshop: Workshop, purge: Purge) -> str:
    with transaction(workshop.engine) as tx:
        if erasures.named(tx, purge.store_key):
            return "shared"
    workshop.store.delete(purge.store_key)
    return "erased"


def _conclude(workshop: Workshop, claim: Claim, outcomes: dict[UUID, str]) -> None:
    with transaction(workshop.engine) as tx:
        job = jobs.hold(tx, claim)
        erasures.settle(tx, outcomes)
        version = models.made_by(tx, UUID(job.payload["unlearn"]))
        dataset, before = leaving.of_model(tx, version.model_id), datetime.fromisoformat(job.payload["before"])
        at_work = recipe_audits.at_work(tx, dataset.id, before=before)
        purges = erasures.noted(tx, job.id)
        result = tell(tx, workshop.keys, job, version, purges, at_work=at_work)
        if at_work:
            again = {name: job.payload[name] for name in ("unlearn", "rows", "before")} | {"told": True}
            erasures.queue(tx, version.model_id, again, at=datetime.now(UTC) + AGAIN)
        jobs.finish(tx, claim, status="succeeded", result=result)
