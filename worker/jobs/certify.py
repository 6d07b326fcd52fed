"""The certificate of one request: what its job did and saw, as a signed statement."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from typing import NamedTuple
from uuid import UUID, uuid4

import torch

from service.db.erasures import Promise
from service.db.tables import DeletionRequest, Job
from service.domain import certificates as c
from service.domain.evidence import evidence, limits
from service.domain.report import AuditReport
from service.ledger.envelopes import seal
from service.ledger.keys import Keys
from service.storage import digest_of
from worker import provenance
from worker.jobs.attempts import Attempt
from worker.jobs.material import Plan
from worker.lineage import hashed

NAMED = 64      # things to be erased that a certificate names at most; the entry of their erasure names all


@dataclass(frozen=True)
class Done:
    """What a job has done, when nothing but certifying is left."""

    plan: Plan
    attempts: Sequence[Attempt]     # the last one is published
    report: AuditReport             # of that one
    manifests: dict[str, str]       # subjects
    weights_before: str             # keys in the store
    weights_after: str
    reports: dict[str, str]         # json, html, pdf
    job: Job
    parent_job_id: UUID | None      # that made the model before
    compared_s: float               # that trainings for comparison took
    device: torch.device
    image_sha256: str | None
    promise: Promise | None = None  # None: until it is published

    @cached_property
    def subjects(self) -> dict[str, str]:
        """Name → SHA-256 in hex of all that the certificates of the job speak of."""
        files = {
            "dataset": self.plan.dataset.source_sha256,
            "model-before": digest_of(self.weights_before),
            "model-after": digest_of(self.weights_after),
            "report.json": digest_of(self.reports["json"]),
            "report.pdf": digest_of(self.reports["pdf"]),
        }
        return files | self.manifests | _further_subjects(self)

    @cached_property
    def procedure(self) -> c.Procedure:
        return _procedure(self)

    @cached_property
    def evidence(self) -> c.Evidence:
        return evidence(self.report, self.subjects["report.json"])

    @cached_property
    def verdict(self) -> c.Verdict:
        return _verdict(self)

    @property
    def planted(self) -> bool:
        return "canary" in self.plan.dataset.facts["splits"]

    @property
    def exact(self) -> bool:
        return self.attempts[-1].method.name == "retrain"


class Signed(NamedTuple):
    id: UUID
    envelope: bytes


def certificate(request: DeletionRequest, done: Done, keys: Keys) -> Signed:
    """State what happened to this request, and sign it; what all requests of the job share is made once."""
    certificate_id, method = uuid4(), done.attempts[-1].method
    predicate = c.Predicate(
        request=_request(certificate_id, request),
        procedure=done.procedure,
        evidence=done.evidence,
        verdict=done.verdict,
        limits=limits(done.report, method, n_samples=request.n_samples, planted=done.planted),
        follow_up=_follow_up(request, done.promise),
    )
    return Signed(certificate_id, seal(c.statement(done.subjects, predicate), keys.certificate))


def _further_subjects(done: Done) -> dict[str, str]:
    """The report on the recipe; and the rows, since canaries are none of the data set's file."""
    recipe, rows = done.report.recipe_evidence, done.plan.dataset.tensors_key
    known = {} if recipe is None else {"recipe-report.json": recipe.report_sha256}
    return known | ({"dataset-rows": digest_of(rows)} if rows is not None and done.planted else {})


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
        environment=provenance.environment(done.device, done.image_sha256),
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


def _follow_up(request: DeletionRequest, promise: Promise | None) -> c.FollowUp:
    """What the erase job will do; see `jobs.erase`. A class is nobody, so its rows may come back."""
    if promise is None:
        return c.FollowUp(erase_by=None, suppressed=False)
    named, newest = promise.rows and request.target_kind != "classes", promise.objects[-NAMED:]
    return c.FollowUp(erase_by=promise.by, to_erase=tuple(each.thing for each in newest), suppressed=named)
