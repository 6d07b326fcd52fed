"""Audit a recipe: child jobs train the shadows and have them forget; the parent puts together what they saw.

The rows are those of the data set's file that the model may still learn from when the audit begins: no canary is among
them, and nothing that was forgotten earlier. The audit takes no model to itself, so deletion requests do not wait.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from safetensors.torch import load_file, save_file

from service.db import audits, canaries, datasets, jobs, models, recipe_audits
from service.db.jobs import Child, Claim
from service.db.session import transaction
from service.db.tables import CANARY, Dataset, Job, Model, RecipeAudit
from service.domain.policy import Policy
from service.domain.recipe_audits import RecipePlan, recipe_sha256
from service.domain.recipes import Method, Spec
from service.domain.report import RecipeEvidence, RecipeReport
from service.errors import Cancelled, JobError
from service.storage import digest_of
from worker import provenance
from worker.jobs import material
from worker.jobs.material import Plan
from worker.jobs.pulse import Pulse
from worker.jobs.workshop import Workshop
from worker.threads import suit
from worker.ulira import Part, conclude, work


@dataclass(frozen=True)
class Task:
    """What was asked for, and on which recipe."""

    audit: RecipeAudit
    model: Model
    dataset: Dataset
    plan: RecipePlan
    spec: Spec


def run(workshop: Workshop, job: Job, claim: Claim, pulse: Pulse) -> None:
    """Deal the shadows to child jobs; when all of these have ended, conclude."""
    task, parts = task_of(workshop, job), _children(workshop, job)
    if parts:
        _conclude(workshop, claim, task, parts, pulse)
    else:
        _deal(workshop, claim, task)


def shadows(workshop: Workshop, job: Job, claim: Claim, pulse: Pulse) -> None:
    """A child's part: some shadows, by their numbers."""
    task, told = task_of(workshop, job), job.payload
    rows = material.material(workshop, rows_of(workshop, task, told["version"]))
    seen = work(
        task.spec, rows.retain, rows.validation, rows.holdout, task.plan, range(told["first"], told["end"]),
        device=workshop.torch_device, on_step=pulse.phase("shadows"),
    )
    with workshop.scratch() as folder:
        save_file({name: part.contiguous() for name, part in seen.items()}, folder / "shadows.safetensors")
        key = workshop.store.put(folder / "shadows.safetensors")
    with transaction(workshop.engine) as tx:
        jobs.finish(tx, claim, status="succeeded", result={"shadows": key})


def task_of(workshop: Workshop, job: Job) -> Task:
    with transaction(workshop.engine) as tx:
        audit = recipe_audits.of_job(tx, job)
        model = models.by_id(tx, audit.model_id)
        dataset = datasets.by_id(tx, model.dataset_id)
    spec = Spec.model_validate(model.spec)
    suit(spec)
    return Task(audit, model, dataset, RecipePlan.model_validate(audit.plan), spec)


def _children(workshop: Workshop, job: Job) -> Sequence[Job]:
    with transaction(workshop.engine) as tx:
        return jobs.children(tx, job.id)


def _deal(workshop: Workshop, claim: Claim, task: Task) -> None:
    """The version says what was forgotten until now, so that all children learn from the same rows."""
    size, n = task.plan.chunk, task.plan.shadows
    with transaction(workshop.engine) as tx:
        version = models.active_number(tx, task.model.id) or 0
        ranges = [{"first": at, "end": min(at + size, n), "version": version} for at in range(0, n, size)]
        jobs.park(tx, claim, [Child("shadows", each) for each in ranges], phase="shadows")


def rows_of(workshop: Workshop, task: Task, version: int) -> Plan:
    """As of a job that forgets nothing, on a data set without canaries."""
    with transaction(workshop.engine) as tx:
        splits, groups = material.indexed(tx, task.dataset)
        planted = canaries.rows(tx, task.dataset.id)
        forgotten = set(audits.rows_forgotten(tx, task.model.id, after=0, upto=version))
    return Plan(
        model=task.model, dataset=task.dataset, spec=task.spec, policy=Policy.model_validate(task.model.policy),
        kinds=set(), forget=[], forgotten=forgotten,
        splits=[CANARY if row in planted else split for row, split in enumerate(splits)], groups=groups,
    )


def _conclude(workshop: Workshop, claim: Claim, task: Task, parts: Sequence[Job], pulse: Pulse) -> None:
    failed = next((part for part in parts if part.status != "succeeded"), None)
    if failed is not None:
        raise JobError(f"Some shadows could not be made: {failed.error or failed.status}")
    seen, phase = [_load(workshop, part.result["shadows"]) for part in parts], pulse.phase("conclude")
    phase(0, 1)
    digest = task.dataset.source_sha256
    report = conclude(seen, task.plan, spec=task.spec, dataset_sha256=digest)
    key = workshop.store.put_bytes(report.model_dump_json().encode())
    with transaction(workshop.engine) as tx:
        if jobs.hold(tx, claim).cancel_requested:
            raise Cancelled("The job was asked to stop")
        recipe_audits.report(tx, task.audit.id, key=key)
        jobs.finish(tx, claim, status="succeeded", result={"report": key})


def _load(workshop: Workshop, key: str) -> Part:
    with workshop.fetched(key) as path:
        return load_file(path)


def evidence(workshop: Workshop, plan: Plan, method: Method | None) -> RecipeEvidence | None:
    """What the last finished audit of this method, recipe and data set found; None if there was none."""
    if method is None:
        return None
    wanted = recipe_sha256(plan.dataset.source_sha256, plan.spec, method)
    with transaction(workshop.engine) as tx:
        known = recipe_audits.newest(tx, dataset_id=plan.dataset.id, recipe_sha256=wanted)
    if known is None or known.report_key is None:
        return None
    report = RecipeReport.model_validate_json(b"".join(workshop.store.open(known.report_key)))
    return told(report, digest_of(known.report_key), provenance.code_digest())


def told(report: RecipeReport, report_sha256: str, code_sha256: str) -> RecipeEvidence:
    """The part of a report that goes into every audit of the recipe.

    Args:
        code_sha256: of the code that serves the request.
    """
    n_in = round(report.n_in_unlearned)
    return RecipeEvidence(
        report_sha256=report_sha256,
        n_in_unlearned=n_in,
        n_out=report.plan.shadows - n_in,
        auc=report.after.auc,
        auc_ci95=report.after.auc_ci95,
        auc_original=report.before.auc,
        epsilon=report.after.epsilon,
        code_sha256=report.code_sha256,
        same_code=report.code_sha256 == code_sha256,
    )
