"""The manifests of a data set: salted roots over the rows that the model before and the model after were trained on."""

from uuid import UUID

from service.db import datasets, deletion_requests
from service.db.session import transaction
from service.domain import commitments
from worker.jobs.material import Plan
from worker.jobs.workshop import Workshop


def manifests(workshop: Workshop, plan: Plan, job_id: UUID) -> dict[str, str]:
    """The subjects `dataset-before` and `dataset-after`, in hex; none where the salt has been deleted.

        manifest = root over commitment(salt, sample_ref) of every training row      (`service.domain.commitments`)

    The salt is that of the first of the job's live requests: one for all certificates of the job, which agree on what
    the models were trained on. A row has one commitment in both manifests, and in that request's forget root; whoever
    holds the salt can show that the one set is the other without the forgotten rows. Without it both say nothing.
    """
    kept = set(plan.retained)
    rows = sorted(kept | (set(plan.forget) - plan.forgotten))
    with transaction(workshop.engine) as tx:
        first = deletion_requests.live(tx, job_id)[:1]
        salt = deletion_requests.salt(tx, first[0].id) if first else None
        refs = datasets.sample_refs(tx, plan.dataset.id, rows)
    if salt is None:
        return {}
    before = {row: commitments.commitment(salt, ref) for row, ref in zip(rows, refs, strict=True)}
    after = (each for row, each in before.items() if row in kept)
    return {
        "dataset-before": commitments.root(before.values()).hex(), "dataset-after": commitments.root(after).hex()
    }
