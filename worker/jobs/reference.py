"""Train one model for comparison, on the rows that another job's models keep."""

from uuid import UUID

from service.db import jobs, leaving, references
from service.db.jobs import Claim
from service.db.session import transaction
from service.db.tables import Job
from service.errors import Cancelled, Conflict
from worker.jobs.material import Plan, material, plan
from worker.jobs.pulse import Pulse
from worker.jobs.references import key, seeded
from worker.jobs.workshop import Workshop
from worker.training import train
from worker.unlearning import now


def run(workshop: Workshop, job: Job, claim: Claim, pulse: Pulse) -> None:
    """Train and keep it, unless another job has done so meanwhile."""
    task = _of_parent(workshop, job.parent_id)
    spec, wanted = seeded(task, job.payload["k"]), bytes.fromhex(job.payload["key"])
    if key(task, spec) != wanted:
        raise Cancelled("The job that asked for this model works on other rows by now")
    if _known(workshop, claim, wanted):
        return
    rows = material(workshop, task)
    start = now(workshop.torch_device)
    model = train(spec, rows.retain, device=workshop.torch_device, on_step=pulse.phase("train"))
    seconds = now(workshop.torch_device) - start
    weights_key = workshop.store_weights(model)
    with transaction(workshop.engine) as tx:
        if jobs.hold(tx, claim).cancel_requested:
            raise Cancelled("The job was asked to stop")
        leaving.refuse_erased(tx, task.dataset.id, task.retained)
        references.keep(tx, wanted, dataset_id=task.dataset.id, weights_key=weights_key, seconds=seconds)
        jobs.finish(tx, claim, status="succeeded", result={"seconds": round(seconds, 3)})


def _of_parent(workshop: Workshop, parent_id: UUID | None) -> Plan:
    if parent_id is None:
        raise Conflict("No job asks for this model")
    with transaction(workshop.engine) as tx:
        parent = jobs.get(tx, parent_id)
    return plan(workshop, parent)


def _known(workshop: Workshop, claim: Claim, wanted: bytes) -> bool:
    with transaction(workshop.engine) as tx:
        found = references.find(tx, [wanted])
        if found:
            jobs.finish(tx, claim, status="succeeded", result={"seconds": 0.0})
        return bool(found)
