"""The certificate of one request: what its job did and saw, as a signed statement."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import NamedTuple
from uuid import UUID, uuid4

import torch

from service.db.tables import DeletionRequest, Job
from service.domain import certificates as c
from service.domain.evidence import evidence
from service.domain.recipes import ours
from service.domain.report import AuditReport
from service.ledger.envelopes import seal
from service.ledger.keys import Keys
from service.storage import digest_of
from worker import provenance
from worker.jobs.attempts import Attempt
from worker.jobs.material import Plan
from worker.lineage import hashed


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
    job: Job
    parent_job_id: UUID | None      # that made the model before
    compared_s: float               # that trainings for comparison took
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
        evidence=evidence(done.report, subjects["report.json"]),
        verdict=_verdict(done),
        limits=(
            *c.limits(exact=done.exact, ours=ours(done.attempts[-1].method)),
            *_shared(request, done),
            *_limits_of_evidence(done),
        ),
        follow_up=_follow_up(done),
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
        due_basis=request.due_basis,
    )


def _procedure(done: Done) -> c.Procedure:
    finished = datetime.now(UTC)
    return c.Procedure(
        method=done.attempts[-1].method.model_dump(mode="json"),
        training_sha256=hashed(done.plan.spec),
        seed=done.plan.spec.training.seed,
        code_digest=provenance.code_digest(),
        versions=provenance.versions(),
        device=provenance.device_name(done.device),
        environment=provenance.environment(done.device),
        job_id=done.job.id,
        runs=done.job.attempt,
        parent_job_id=done.parent_job_id,
        started_at=done.job.started_at or finished,
        finished_at=finished,
        seconds=done.attempts[-1].seconds,
        accelerator_seconds=_accelerator_seconds(done),
        attempts=tuple(each.disclosed for each in done.attempts),
    )


def _verdict(done: Done) -> c.Verdict:
    policy = done.plan.policy.model_dump(mode="json")
    said = done.report.verdict
    return c.Verdict(
        value=said.value,
        reason=said.reason_code,
        policy=policy,
        policy_sha256=c.digest(policy),
        exact=done.exact,
    )


def _accelerator_seconds(done: Done) -> float:
    spent = sum(each.seconds for each in done.attempts) + done.compared_s
    return spent if done.device.type == "cuda" else 0.0


def _follow_up(done: Done) -> c.FollowUp:
    """What the erase job will do; see `jobs.erase`."""
    return c.FollowUp(erase_by=None, suppressed=done.plan.policy.erasure.rows)


def _shared(request: DeletionRequest, done: Done) -> tuple[str, ...]:
    """An audit of rows that were forgotten together says less about one request's share of them."""
    if request.n_samples == done.n_forget:
        return ()
    together = f"The audit looked at {done.n_forget} rows that were forgotten together"
    return (f"{together}; {request.n_samples} of them belong to this request.",)
