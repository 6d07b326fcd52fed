"""Plant canaries: choose training rows to copy, give them wrong labels, and throw a fair coin for each."""

from collections.abc import Sequence
from secrets import randbits
from uuid import UUID

import numpy as np
import torch
from numpy.random import Generator

from service.db import canaries, datasets, jobs
from service.db.canaries import Planted
from service.db.jobs import Claim
from service.db.session import transaction
from service.db.tables import Job
from service.domain.canaries import NewCanaries, sample_id
from service.domain.commitments import reference
from service.errors import Conflict
from worker.jobs.pulse import Pulse
from worker.jobs.workshop import Workshop
from worker.planting import append

Choice = tuple[int, int]        # a training row, and a label that is not its own


def run(workshop: Workshop, job: Job, claim: Claim, pulse: Pulse) -> None:
    """Write the data set's rows anew with the canaries behind them; coins go into the database and nowhere else."""
    asked, phase = NewCanaries.model_validate(job.payload), pulse.phase("canaries")
    with transaction(workshop.engine) as tx:
        dataset = datasets.of_job(tx, job)
        train = canaries.train_labels(tx, dataset.id)
    if dataset.tensors_key is None:
        raise Conflict("The data set is not indexed")
    chosen = choose(train, asked.m, np.random.default_rng(asked.seed))
    phase(0, asked.m)
    with workshop.fetched(dataset.tensors_key) as path, workshop.scratch() as folder:
        rows, labels = torch.tensor(chosen).unbind(1)
        append(path, folder / "rows.safetensors", rows, labels)
        key = workshop.store.put(folder / "rows.safetensors")
    phase(asked.m, asked.m)
    _plant(workshop, claim, dataset.id, chosen, key)


def choose(train: Sequence[Choice], m: int, rng: Generator) -> list[Choice]:
    """m different rows of (row, label) pairs, each with one of the other labels that occur, evenly drawn.

    Raises:
        ValueError: there are fewer than m rows, or only one label.
    """
    labels = sorted({label for _, label in train})
    others = {label: [each for each in labels if each != label] for label in labels}
    picked = rng.choice(len(train), size=m, replace=False).tolist()
    drawn = rng.integers(len(labels) - 1, size=m).tolist()
    return [(train[at][0], others[train[at][1]][which]) for at, which in zip(picked, drawn, strict=True)]


def _plant(workshop: Workshop, claim: Claim, dataset_id: UUID, chosen: Sequence[Choice], key: str) -> None:
    index_key = workshop.keys.index_key
    planted = [
        Planted(reference(index_key, "sample", sample_id(number)), row, label, included=bool(randbits(1)))
        for number, (row, label) in enumerate(chosen)
    ]
    with transaction(workshop.engine) as tx:
        jobs.hold(tx, claim)
        canaries.plant(tx, dataset_id, planted, tensors_key=key)
        jobs.finish(tx, claim, status="succeeded", result={"m": len(planted)})
