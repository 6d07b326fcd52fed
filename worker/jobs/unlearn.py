"""Serve the deletion requests of one job: climb the ladder, publish the new version, certify each request."""

from collections.abc import Sequence
from dataclasses import replace
from functools import partial

from service.db import deletion_requests, erasures, jobs, models
from service.db.jobs import Claim
from service.db.session import transaction
from service.db.tables import Job, ModelVersion
from service.domain.requests import State
from service.errors import Cancelled
from service.ledger import append
from worker.jobs.attempts import Attempt, log
from worker.jobs.certify import Done, certificate
from worker.jobs.ladder import Ladder
from worker.jobs.manifests import manifests
from worker.jobs.material import Material, Plan, material, plan
from worker.jobs.pulse import Pulse
from worker.jobs.recipe import evidence
from worker.jobs.references import Reference, references
from worker.jobs.workshop import Workshop


def run(workshop: Workshop, job: Job, claim: Claim, pulse: Pulse) -> None:
    """Unlearn, audit, and make it all true in one transaction."""
    task = plan(workshop, job)
    if not task.forget:
        raise Cancelled("Every request of this job was withdrawn")
    tell = _teller(workshop, claim)
    tell(State.UNLEARNING, {})
    known = references(workshop, claim, task)
    if known is None:       # the job is parked
        return
    rows, version = material(workshop, task), _active(workshop, task)
    before = workshop.load_weights(task.spec, version.weights_key)
    ladder = Ladder(
        task, rows, before, pulse, tell, log(workshop, claim, task, version.weights_key),
        partial(evidence, workshop, task),
    )
    attempts, chosen = ladder.climb(known)
    done = Done(
        plan=task,
        attempts=attempts,
        report=chosen.report,
        manifests=manifests(workshop, task, job.id),
        weights_before=version.weights_key,
        weights_after=workshop.store_weights(chosen.model),
        reports=workshop.store_report(chosen.report),
        job=job,
        parent_job_id=version.job_id,
        compared_s=sum(each.seconds for each in known),
        device=workshop.torch_device,
        image_sha256=workshop.settings.image_sha256,
    )
    _publish(workshop, claim, done, _result(rows, known, done))


def _active(workshop: Workshop, task: Plan) -> ModelVersion:
    with transaction(workshop.engine) as tx:
        return models.active(tx, task.model.id)


def _teller(workshop: Workshop, claim: Claim):      # a closure of type ladder.Tell
    """Moves the job's requests to a state, each with its event, under the claim's fence."""

    def tell(state: State, data: dict[str, object]) -> None:
        with transaction(workshop.engine) as tx:
            job = jobs.hold(tx, claim)
            for request in deletion_requests.live(tx, job.id):
                if request.state != state:
                    deletion_requests.move(tx, request, state, dict(data))
                elif data:
                    deletion_requests.record(tx, request.id, state, dict(data))

    return tell


def _result(rows: Material, known: Sequence[Reference], done: Done) -> dict[str, object]:
    """What GET /jobs/{id} tells: sizes, seconds, attempts, and where the report lies."""
    return {
        "n_forget": len(rows.forget),
        "n_retain": len(rows.retain),
        "seconds": round(done.attempts[-1].seconds, 3),
        "reference_seconds": [round(each.seconds, 3) for each in known],
        "references": [each.key for each in known],
        "attempts": [_told(attempt) for attempt in done.attempts],
        "report": done.reports,
    }


def _told(attempt: Attempt) -> dict[str, object]:
    seen = None if attempt.preflight is None else attempt.preflight.dump()
    return {"method": attempt.method.model_dump(mode="json"), "outcome": attempt.outcome, "preflight": seen}


def _publish(workshop: Workshop, claim: Claim, done: Done, result: dict[str, object]) -> None:
    """Version, certificates, states and the end of the job: together or not at all."""
    verdict, model_id = done.report.verdict.value, done.plan.model.id
    with transaction(workshop.engine) as tx:
        job = jobs.hold(tx, claim)
        if job.cancel_requested:        # the wish was accepted after the last step, and before this lock
            raise Cancelled("The job was asked to stop")
        version = models.publish(tx, model_id, origin="unlearned", weights_key=done.weights_after, job_id=job.id)
        done = replace(done, promise=erasures.schedule(tx, job, version, done.plan.policy.erasure))
        for request in deletion_requests.live(tx, job.id):
            signed = certificate(request, done, workshop.keys)
            append.issue(tx, request_id=request.id, certificate_id=signed.id, envelope=signed.envelope)
            deletion_requests.certify(
                tx, request, version_id=version.id, verdict=verdict, report_key=done.reports["json"]
            )
        jobs.finish(tx, claim, status="succeeded", result=result)
        jobs.wake(tx)
