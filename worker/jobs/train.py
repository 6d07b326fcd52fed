"""Train version 1 of a model from its recipe."""

from service.db import jobs, leaving, models
from service.db.jobs import Claim
from service.db.session import transaction
from service.db.tables import Job
from worker.jobs.material import material, plan
from worker.jobs.pulse import Pulse
from worker.jobs.workshop import Workshop
from worker.training import train
from worker.unlearning import now


def run(workshop: Workshop, job: Job, claim: Claim, pulse: Pulse) -> None:
    """Train on the training rows, store the weights, publish the version."""
    task = plan(workshop, job)
    rows = material(workshop, task)
    start = now(workshop.torch_device)
    model = train(task.spec, rows.retain, device=workshop.torch_device, on_step=pulse.phase("train"))
    seconds = now(workshop.torch_device) - start
    with transaction(workshop.engine) as tx:        # weights that have to be refused are better not stored
        leaving.refuse_erased(tx, task.dataset.id, task.retained)
    key = workshop.store_weights(model)
    with transaction(workshop.engine) as tx:
        jobs.hold(tx, claim)
        leaving.refuse_erased(tx, task.dataset.id, task.retained)
        version = models.publish(tx, task.model.id, origin="trained", weights_key=key, job_id=job.id)
        jobs.finish(tx, claim, status="succeeded", result={"version": version.number, "seconds": round(seconds, 3)})
