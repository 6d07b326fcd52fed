"""Audit one version of a model against an earlier one: what POST /audits asks for."""

from dataclasses import dataclass
from typing import Any

from pydantic import TypeAdapter

from service.db import audits, jobs, models
from service.db.jobs import Claim
from service.db.session import transaction
from service.db.tables import Job, ModelVersion
from service.domain.recipes import Method
from service.errors import Cancelled
from worker.auditing import audit
from worker.jobs.material import material, plan
from worker.jobs.pulse import Pulse
from worker.jobs.recipe import evidence
from worker.jobs.references import references
from worker.jobs.workshop import Workshop

_METHOD: TypeAdapter[Method] = TypeAdapter(Method)


@dataclass(frozen=True)
class Pair:
    """The two versions, and the method that made the later one of the earlier one, where that is known."""

    before: ModelVersion
    after: ModelVersion
    method: Method | None


def run(workshop: Workshop, job: Job, claim: Claim, pulse: Pulse) -> None:
    """Attack both versions, beside retrained models where the plan asks for some, and keep the report."""
    task, pair = plan(workshop, job), _pair(workshop, job)
    known = references(workshop, claim, task)
    if known is None:       # the job is parked
        return
    rows = material(workshop, task)
    report = audit(
        workshop.load_weights(task.spec, pair.before.weights_key),
        workshop.load_weights(task.spec, pair.after.weights_key),
        rows.audit_sets(task.policy.audit),
        task.policy.audit,
        references=[each.model for each in known],
        spec=task.spec,
        lineage=task.lineage(pair.method),
        recipe_evidence=evidence(workshop, task, pair.method),
        claim="exact" if pair.method is not None and pair.method.name == "retrain" else "approximate",
        on_step=pulse.phase("audit"),
    )
    result: dict[str, Any] = {
        "verdict": report.verdict.value,
        "n_forget": len(rows.forget),
        "n_retain": len(rows.retain),
        "reference_seconds": [round(each.seconds, 3) for each in known],
        "report": workshop.store_report(report),
    }
    with transaction(workshop.engine) as tx:
        if jobs.hold(tx, claim).cancel_requested:
            raise Cancelled("The job was asked to stop")
        jobs.finish(tx, claim, status="succeeded", result=result)


def _pair(workshop: Workshop, job: Job) -> Pair:
    with transaction(workshop.engine) as tx:
        asked = audits.of_job(tx, job.id)
        before, after = models.version_by_id(tx, asked.before_id), models.version_by_id(tx, asked.version_id)
        for version in (before, after):
            models.refuse_erased(version)
        if after.origin != "unlearned" or after.job_id is None or models.predecessor(tx, after) != before:
            return Pair(before, after, None)
        attempts = jobs.get(tx, after.job_id).result["attempts"]
    return Pair(before, after, _METHOD.validate_python(attempts[-1]["method"]))
