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
        "dataset": done.plan.dataset.source_sha256,
        "model-before": digest_of(done.weights_before),
        "model-after": digest_of(done.weights_after),
        "report.json": digest_of(done.reports["json"]),
        "report.pdf": digest_of(done.reports["pdf"]),
    } | _further_subjects(done)
    predicate = c.Predicate(
        request=_request(certificate_id, request),
        procedure=_procedure(done),
        evidence=_evidence(done, subjects["report.json"]),
        verdict=_verdict(done),
        limits=(
            *c.limits(exact=done.exact, ours=ours(done.attempts[-1].method)),
            *_shared(request, done),
            *_limits_of_evidence(done),
        ),
    )
    return Signed(certificate_id, seal(c.statement(subjects, predicate), keys.certificate))


def _further_subjects(done: Done) -> dict[str, str]:
    """The report on the recipe; and the rows, since canaries are none of the data set's file."""
    recipe, rows = done.report.recipe_evidence, done.plan.dataset.tensors_key
    known = {} if recipe is None else {"recipe-report.json": recipe.report_sha256}
    return known | ({"dataset-rows": digest_of(rows)} if rows is not None and _has_canaries(done) else {})


def _has_canaries(done: Done) -> bool:
    return "canary" in done.plan.dataset.facts["splits"]


def _limits_of_evidence(done: Done) -> tuple[str, ...]:
    recipe = done.report.recipe_evidence
    said = {
        c.PLANTED: _has_canaries(done),
        c.OTHER_MODELS: recipe is not None,
        c.OTHER_CODE: recipe is not None and not recipe.same_code,
    }
    return tuple(sentence for sentence, holds in said.items() if holds)


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
    report = done.report
    metrics = (*map(_auc, report.results), *_accuracies(report), *_epsilon(report))
    return c.Evidence(
        metrics=metrics, report_sha256=report_sha256, references_k=report.references.k,
        recipe_audit=_recipe_audit(report),
    )


def _recipe_audit(report: AuditReport) -> c.RecipeAudit | None:
    seen = report.recipe_evidence
    if seen is None:
        return None
    return c.RecipeAudit(
        report_sha256=seen.report_sha256, n_models=seen.n_in_unlearned + seen.n_out,
        auc_original=seen.auc_original, auc=seen.auc, same_code=seen.same_code,
    )


def _epsilon(report: AuditReport) -> list[c.Metric]:
    """Only where canaries gave one; a rung that was skipped claims nothing."""
    seen = report.epsilon
    if seen is None:
        return []
    level = f"at level {seen.alpha:g} and delta {seen.delta:g}; these canaries could show at most {seen.ceiling:.2f}"
    definition = f"Lower bound on epsilon of training and unlearning together, from {seen.n} canaries, {level}"
    return [c.Metric(name="epsilon_lower_bound", definition=definition, after=seen.value)]


AGAINST: dict[str, str] = {
    "calibrated": "confidence, less the mean of retrained models",
    "rmia": "RMIA (arXiv:2312.03262) beside retrained models",
}


def _auc(result: Result) -> c.Metric:
    reference, signal = result.auc_reference_ci95, AGAINST.get(result.signal, result.signal.replace("_", " "))
    return c.Metric(
        name=f"auc_{result.signal}",
        definition=f"Attack AUC of {signal}, forgotten against held-out rows; 95 % interval",
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
