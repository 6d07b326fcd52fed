"""Attempts: what was tried on each rung, and how it ended; one whose model is not published is logged at once."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from hashlib import sha256
from uuid import UUID, uuid5

from torch import nn

from service.db import deletion_requests, jobs
from service.db.jobs import Claim
from service.db.session import transaction
from service.db.tables import Job
from service.domain import certificates as c
from service.domain.entries import Attempted
from service.domain.recipes import Method
from service.domain.report import AuditReport
from service.ledger import append
from service.storage import digest_of
from worker import report
from worker.jobs.material import Plan
from worker.jobs.workshop import Workshop
from worker.preflighting import Preflight


@dataclass(frozen=True)
class Audited:
    """A model that was unlearned, and what the audit saw."""

    model: nn.Module
    report: AuditReport


@dataclass(frozen=True)
class Attempt:
    """One rung: what was tried, how long it took, and how it ended."""

    method: Method
    outcome: str                    # published, leak, utility, diverged, refused
    seconds: float
    audited: Audited | None = None  # None: it ended before the audit
    preflight: Preflight | None = None      # None: the method does not ascend

    @cached_property
    def report_json(self) -> bytes | None:
        """The audit's report, as it is stored."""
        return None if self.audited is None else report.to_json(self.audited.report)

    @cached_property
    def disclosed(self) -> c.Attempt:
        """What certificate and ledger say of it."""
        seen = None if self.audited is None else self.audited.report
        return c.Attempt(
            recipe=self.method.model_dump(mode="json"),
            outcome=self.outcome,
            verdict=None if seen is None else seen.verdict.value,
            seconds=self.seconds,
            headline=({} if seen is None else _headline(seen)) | self._measured_before,
            report_sha256=None if self.report_json is None else sha256(self.report_json).hexdigest(),
        )

    @property
    def _measured_before(self) -> dict[str, float]:
        return {} if self.preflight is None else self.preflight.numbers


def _headline(seen: AuditReport) -> dict[str, float]:
    """What was measured: without retrained models ½ is an assumption."""
    numbers, names = seen.headline.model_dump(), ("auc_before", "auc_after", "auc_reference")
    return {name: numbers[name] for name in names[: 3 if seen.references.k else 2] if numbers[name] is not None}


Log = Callable[[int, Attempt], None]


def log(workshop: Workshop, claim: Claim, plan: Plan, weights_before: str) -> Log:
    """Enters a discarded attempt: its report into the store, then, under the claim's fence, entries and events."""

    def enter(rung: int, attempt: Attempt) -> None:
        if attempt.report_json is not None:
            workshop.store.put_bytes(attempt.report_json)
        subjects, event = _subjects(attempt, weights_before), _event(rung, attempt.disclosed)
        with transaction(workshop.engine) as tx:
            job = jobs.hold(tx, claim)
            live = [request.id for request in deletion_requests.live(tx, job.id)]
            for ids in append.parts(live):
                entry, once = _entry(job, plan, rung, attempt, ids), _once(claim, rung, ids)
                append.record(
                    tx, entry, workshop.keys.certificate, subjects=subjects, requests=ids, entry_id=once
                )
            for request_id in live:
                deletion_requests.record(tx, request_id, "attempt", event)

    return enter


def _subjects(attempt: Attempt, weights_before: str) -> dict[str, str]:
    told = attempt.disclosed.report_sha256
    return {"model-before": digest_of(weights_before)} | ({} if told is None else {"report.json": told})


def _entry(job: Job, plan: Plan, rung: int, attempt: Attempt, ids: tuple[UUID, ...]) -> Attempted:
    return Attempted(
        request_ids=ids, job_id=job.id, run=job.attempt, rung=rung, attempt=attempt.disclosed,
        policy_sha256=c.digest(plan.policy.model_dump(mode="json")), at=datetime.now(UTC),
    )


def _once(claim: Claim, rung: int, ids: tuple[UUID, ...]) -> UUID:
    """A claim climbs each rung once; a second entry about it would be refused."""
    return uuid5(claim.job_id, f"{claim.fence} {rung} {ids[0]}")


def _event(rung: int, told: c.Attempt) -> dict[str, object]:
    return {"rung": rung, "method": told.recipe["name"], "outcome": told.outcome, "verdict": told.verdict}
