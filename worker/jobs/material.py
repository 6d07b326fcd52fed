"""What a job works on: the rows of a data set as tensors, cut by split, forget set and person."""

from dataclasses import dataclass

import torch
from sqlalchemy.orm import Session
from torch import Tensor

from service.db import datasets, deletion_requests, models
from service.db.session import transaction
from service.db.tables import HOLDOUT, TRAIN, VALIDATION, Dataset, Job, Model
from service.domain.policy import Policy
from service.domain.recipes import Spec
from service.errors import Conflict, InvalidDataset
from worker.auditing import AuditSets
from worker.data import Rows, Split, load_tensors
from worker.jobs.workshop import Workshop
from worker.threads import suit


@dataclass(frozen=True)
class Material:
    """The rows of one job. Rows forgotten earlier are in none of them."""

    retain: Rows
    forget: Rows
    validation: Rows
    holdout: Rows

    @property
    def split(self) -> Split:
        return Split(self.retain, self.forget, self.validation)

    @property
    def audit_sets(self) -> AuditSets:
        return AuditSets(forget=self.forget, holdout=self.holdout, retain=self.retain)


@dataclass(frozen=True)
class Plan:
    """The database's part: what is to be done, read in one short transaction."""

    model: Model
    dataset: Dataset
    spec: Spec
    policy: Policy
    kinds: set[str]         # of the targets
    forget: list[int]
    forgotten: set[int]
    splits: list[int]
    groups: list[int]       # a number for each person; a row without one is a person of its own


def plan(workshop: Workshop, job: Job) -> Plan:
    """Read what the job is about."""
    with transaction(workshop.engine) as tx:
        model = models.of_job(tx, job)
        dataset = datasets.by_id(tx, model.dataset_id)
        splits, groups = _rows(tx, dataset)
        spec = Spec.model_validate(model.spec)
        suit(spec)
        return Plan(
            model=model,
            dataset=dataset,
            spec=spec,
            policy=Policy.model_validate(model.policy),
            kinds=deletion_requests.kinds_of_job(tx, job.id),
            forget=deletion_requests.rows_of_job(tx, job.id),
            forgotten=deletion_requests.rows_forgotten(tx, model.id),
            splits=splits,
            groups=groups,
        )


def _rows(tx: Session, dataset: Dataset) -> tuple[list[int], list[int]]:
    splits: list[int] = []
    groups: list[int] = []
    persons: dict[bytes, int] = {}
    for row, split, subject in datasets.splits(tx, dataset.id):
        splits.append(split)
        groups.append(-row - 1 if subject is None else persons.setdefault(subject, len(persons)))
    return splits, groups


def material(workshop: Workshop, plan: Plan) -> Material:
    """Load the tensors and cut them; other rows of the forgotten persons serve neither method nor audit."""
    if plan.dataset.tensors_key is None:
        raise Conflict("The data set is not indexed")
    with workshop.fetched(plan.dataset.tensors_key) as path:
        rows = load_tensors(path, resident_mb=workshop.settings.resident_mb)      # what stays there outlives its name
        if len(rows) != len(plan.splits):
            raise InvalidDataset("The index and the tensors of the data set differ in their number of rows")
        rows = Rows(rows.x, rows.y, torch.tensor(plan.groups))
        return _cut(rows, plan)


def _cut(rows: Rows, plan: Plan) -> Material:
    splits, groups = torch.tensor(plan.splits), torch.tensor(plan.groups)
    forget, forgotten = _marks(len(rows), plan.forget), _marks(len(rows), plan.forgotten)
    others = ~torch.isin(groups, groups[forget | forgotten])
    retain = (splits == TRAIN) & ~forget & ~forgotten
    taught = torch.isin(rows.y, rows.y[retain])     # unseen rows of a class that is gone are no model of unseen rows
    return Material(
        retain=rows.take(retain),
        forget=rows.take(forget),
        validation=rows.take((splits == VALIDATION) & others & taught),
        holdout=rows.take((splits == HOLDOUT) & others),
    )


def _marks(n: int, rows: "list[int] | set[int]") -> Tensor:
    marks = torch.zeros(n, dtype=torch.bool)
    marks[torch.tensor(sorted(rows), dtype=torch.long)] = True
    return marks
