"""The certificate of one request: what its job did and saw, as a signed statement."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import NamedTuple
from uuid import UUID, uuid4

import torch

from service.db.tables import DeletionRequest
from service.domain import certificates as c
from service.domain.recipes import ours
from service.domain.report import AuditReport, Result
from service.ledger.envelopes import seal
from service.ledger.keys import Keys
from service.storage import digest_of
from worker import provenance
from worker.jobs.ladder import Attempt
from worker.jobs.material import Plan


@dataclass(frozen=True)
class Done:
    """What a job has done, when nothing but certifying is left."""

    plan: Plan
    attempts: Sequence[Attempt]     # the last one is published
    report: AuditReport             # of that one
    n_forget: int
    weights_before: str             # keys in the store
    weights_after: str
    reports: dict[str, str]         # json, html, pdf
    started: datetime
    device: torch.device

    @property
    def exact(self) -> bool:
        return self.attempts[-1].method.name == "retrain"


class Signed(NamedTuple):
    id: UUID
    envelope: bytes


def certificate(request: DeletionRequest, done: Done, keys: Keys) -> Signed:
    """State what happened to this request, and sign it."""
    certificate_id = uuid4()
    subjects = {
        "dataset": digest_of(done.plan.dataset.file_key),
        "model-before": digest_of(done.weights_before),
        "model-after": digest_of(done.weights_after),
        "report.json": digest_of(done.reports["json"]),
        "report.pdf": digest_of(done.reports["pdf"]),
    }
    predicate = c.Predicate(
        request=_request(certificate_id, request),
        procedure=_procedure(done),
        evidence=_evidence(done, subjects["report.json"]),
        verdict=_verdict(done),
        limits=(*c.limits(exact=done.exact, ours=ours(done.attempts[-1].method)), *_shared(request, done)),
    )
    return Signed(certificate_id, seal(c.statement(subjects, predicate), keys.certificate))


def _request(certificate_id: UUID, request: DeletionRequest) -> c.Request:
    return c.Request(
        certificate_id=certificate_id,
        request_id=request.id,
        target_kind=request.target_kind,     # pyright: ignore[reportArgumentType]: a check of the table
        n_samples=request.n_samples,
        forget_root=request.forget_root.hex(),
        ground=request.ground,
        received_at=request.received_at,
        due_at=request.due_at,
    )


def _procedure(done: Done) -> c.Procedure:
    return c.Procedure(
        method=done.attempts[-1].method.model_dump(mode="json"),
        seed=done.plan.spec.training.seed,
        code_digest=provenance.code_digest(),
        versions=provenance.versions(),
        device=provenance.device_name(done.device),
        started_at=done.started,
        finished_at=datetime.now(UTC),
        seconds=done.attempts[-1].seconds,
        attempts=tuple(_attempt(each) for each in done.attempts),
    )


def _attempt(attempt: Attempt) -> c.Attempt:
    report = attempt.audited and attempt.audited.report
    return c.Attempt(
        recipe=attempt.method.model_dump(mode="json"),
        outcome=attempt.outcome,
        verdict=None if report is None else report.verdict.value,
        seconds=attempt.seconds,
        headline=({} if report is None else _headline(report)) | _preflight(attempt),
    )


def _preflight(attempt: Attempt) -> dict[str, float]:
    """What was measured before the attempt's first step."""
    return {} if attempt.preflight is None else attempt.preflight.numbers


def _headline(report: AuditReport) -> dict[str, float]:
    numbers = report.headline.model_dump()
    return {name: numbers[name] for name in ("auc_before", "auc_after", "auc_reference") if numbers[name] is not None}


def _evidence(done: Done, report_sha256: str) -> c.Evidence:
    metrics = (*map(_auc, done.report.results), *_accuracies(done.report))
    return c.Evidence(metrics=metrics, report_sha256=report_sha256, references_k=done.report.references.k)


def _auc(result: Result) -> c.Metric:
    reference = result.auc_reference_ci95
    return c.Metric(
        name=f"auc_{result.signal}",
        definition=f"Attack AUC of {result.signal.replace('_', ' ')}, forgotten against held-out rows; 95 % interval",
        before=result.auc_original,
        before_ci=result.auc_original_ci95,
        after=result.auc,
        after_ci=result.auc_ci95,
        reference=None if reference is None else result.auc_reference,
        reference_ci=reference,
    )


def _accuracies(report: AuditReport) -> list[c.Metric]:
    sets = {"retain": report.utility.retain, "forget": report.utility.forget, "holdout": report.utility.holdout}
    return [
        c.Metric(
            name=f"accuracy_{name}",
            definition=f"Share of {name} rows predicted right; 95 % interval",
            before=seen.before,
            before_ci=seen.before_ci95,
            after=seen.after,
            after_ci=seen.after_ci95,
            reference=seen.reference,
            reference_ci=seen.reference_ci95,
        )
        for name, seen in sets.items()
        if seen is not None
    ]


def _verdict(done: Done) -> c.Verdict:
    policy = done.plan.policy.model_dump(mode="json")
    said = done.report.verdict
    return c.Verdict(
        value=said.value,
        reason=said.reason_code,
        policy_sha256=hashlib.sha256(c.canonical(policy)).hexdigest(),
        exact=done.exact,
    )


def _shared(request: DeletionRequest, done: Done) -> tuple[str, ...]:
    """An audit of rows that were forgotten together says less about one request's share of them."""
    if request.n_samples == done.n_forget:
        return ()
    together = f"The audit looked at {done.n_forget} rows that were forgotten together"
    return (f"{together}; {request.n_samples} of them belong to this request.",)
