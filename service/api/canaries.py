"""Canaries: rows planted before training, so that one trained model can be audited for a bound on ε."""

from typing import Annotated

from fastapi import APIRouter, Response
from pydantic import BaseModel, Field

from service.api.deps import Ctx, Tx
from service.api.jobs import JobView
from service.db import canaries, datasets, jobs
from service.domain.canaries import NewCanaries, sample_id
from service.domain.commitments import reference
from service.domain.values import Name

router = APIRouter(prefix="/datasets", tags=["datasets"])


class Planting(BaseModel):
    """What is being planted, and the job that does it."""

    m: int
    seed: int
    job: JobView


class CanariesView(BaseModel):
    """Who knows which canaries are in knows what the audit tries to guess: keep this from whoever trains or audits."""

    m: Annotated[int, Field(description="Planted, on both sides of the coin.")]
    included: Annotated[int, Field(description="Trained on, each with a wrong label.")]
    ids: Annotated[list[str], Field(description="Sample ids of the included: a deletion request has to name them all.")]


@router.post("/{name}/canaries", status_code=202)
def plant(name: Name, body: NewCanaries, ctx: Ctx, tx: Tx, response: Response) -> Planting:
    """Plant canaries by fair coins, before any model is registered on the data set; a job adds the rows.

    A canary repeats the inputs of a training row under a wrong label, so a model pays for it in utility: about m/2 of
    its training rows will be wrong. Whoever asks to forget the row it repeats has the canary forgotten as well.
    """
    dataset = datasets.get(tx, name)
    canaries.lock(tx, dataset)
    canaries.refuse_unless_untouched(tx, dataset)
    canaries.refuse_unless_enough(tx, dataset, body.m)
    names = [reference(ctx.index_key, "sample", sample_id(number)) for number in range(body.m)]
    canaries.refuse_taken(tx, dataset.id, names)
    payload = body.model_dump(mode="json")
    job = jobs.add(
        tx, "canaries", dataset_id=dataset.id, max_attempts=ctx.settings.max_attempts, payload=payload
    )
    response.headers["Location"] = f"{router.prefix}/{name}/canaries"
    return Planting(**payload, job=JobView.of(job))


@router.get("/{name}/canaries")
def get_canaries(name: Name, tx: Tx) -> CanariesView:
    """How many canaries were planted, and which of them are trained on."""
    m, ids = canaries.listing(tx, datasets.get(tx, name).id)
    return CanariesView(m=m, included=len(ids), ids=ids)
