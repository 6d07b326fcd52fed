"""What a job works on: the rows of a data set as tensors, cut by split, forget set and person."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from sqlalchemy.orm import Session
from torch import Tensor

from service.db import audits, canaries, datasets, deletion_requests, leaving, models
from service.db.session import transaction
from service.db.tables import HOLDOUT, TRAIN, VALIDATION, Dataset, DeletionRequest, Job, Model
from service.domain.policy import AuditPlan, Policy
from service.domain.recipes import Method, Reference, Spec
from service.domain.requests import ENDED
from service.errors import Conflict, InvalidDataset, NotFound
from worker.case import AuditSets
from worker.data import Rows, Split, load_tensors
from worker.jobs.workshop import Workshop
from worker.lineage import Lineage
from worker.threads import suit


@dataclass(frozen=True)
class Material:
    """The rows of one job. Rows forgotten earlier are in none of them."""

    retain: Rows
    forget: Rows
    validation: Rows
    holdout: Rows
    canaries: tuple[Rows, Rows] | None = None   # planted by coin: those that this job forgets, those never in

    @property
    def split(self) -> Split:
        return Split(self.retain, self.forget, self.validation)

    def audit_sets(self, plan: AuditPlan) -> AuditSets:
        """What the plan's rungs need; validation rows serve as the population, as no model was trained on them."""
        compares = any(isinstance(rung, Reference) for rung in plan.rungs)
        return AuditSets(
            forget=self.forget, holdout=self.holdout, retain=self.retain,
            population=self.validation if compares else None, canaries=self.canaries,
        )


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
    commitment: str | None = None       # of the only request that the job serves
    canaries: tuple[list[int], list[int]] | None = None

    @cached_property
    def retained(self) -> list[int]:
        """The training rows that stay."""
        gone = {*self.forget, *self.forgotten}
        return [row for row, split in enumerate(self.splits) if split == TRAIN and row not in gone]

    def lineage(self, method: Method | None) -> Lineage:
        """What the audit of a model made by this method is told of where it comes from."""
        return Lineage(
            method=method,
            dataset_sha256=self.dataset.source_sha256,
            index_commitment=self.commitment,
            absent_from_training=set(self.forget).isdisjoint(self.retained),
        )


@dataclass(frozen=True)
class Asked:
    """What a job was asked for."""

    model: Model
    policy: Policy
    kinds: set[str]
    forget: list[int]
    forgotten: set[int]
    commitment: str | None


def plan(workshop: Workshop, job: Job) -> Plan:
    """Read what the job is about."""
    with transaction(workshop.engine) as tx:
        asked = _of_audit(tx, job) if job.kind == "audit" else _of_model(tx, job)
        dataset = datasets.by_id(tx, asked.model.dataset_id)
        splits, groups = indexed(tx, dataset)
        spec = Spec.model_validate(asked.model.spec)
        suit(spec)
        return Plan(
            model=asked.model, dataset=dataset, spec=spec, policy=asked.policy, kinds=asked.kinds,
            forget=asked.forget, forgotten=asked.forgotten, splits=splits, groups=groups,
            commitment=asked.commitment, canaries=_canaries(tx, asked),
        )


def _of_model(tx: Session, job: Job) -> Asked:
    model = models.of_job(tx, job)
    return Asked(
        model=model,
        policy=Policy.model_validate(job.payload.get("policy", model.policy)),      # the one that it started with
        kinds=deletion_requests.kinds_of_job(tx, job.id),
        forget=deletion_requests.rows_of_job(tx, job.id),
        forgotten=deletion_requests.rows_forgotten(tx, model.id),
        commitment=_commitment(deletion_requests.of_job(tx, job.id)),
    )


def _commitment(requests: Sequence[DeletionRequest]) -> str | None:
    """Of several requests none has the whole forget set."""
    live = [request for request in requests if request.state not in ENDED]
    return live[0].forget_root.hex() if len(live) == 1 else None


def _of_audit(tx: Session, job: Job) -> Asked:
    audit = audits.of_job(tx, job.id)
    model, version = models.by_id(tx, audit.model_id), models.version_number(tx, audit.version_id)
    known = Policy.model_validate(model.policy)
    forgotten = audits.rows_forgotten(tx, model.id, after=0, upto=version or 0)
    return Asked(
        model=model,
        policy=known.model_copy(update={"audit": AuditPlan.model_validate(audit.plan)}),
        kinds=set(),
        forget=list(audit.rows),
        forgotten=set(forgotten) - set(audit.rows),
        commitment=None,
    )


def _canaries(tx: Session, asked: Asked) -> tuple[list[int], list[int]] | None:
    model = asked.model
    return canaries.usable(
        tx, dataset_id=model.dataset_id, model_id=model.id, forget=asked.forget, forgotten=asked.forgotten
    )


def indexed(tx: Session, dataset: Dataset) -> tuple[list[int], list[int]]:
    """The split of each row, and a number for each person."""
    splits: list[int] = []
    groups: list[int] = []
    persons: dict[bytes, int] = {}
    for row, split, subject in datasets.splits(tx, dataset.id):
        splits.append(split)
        groups.append(-row - 1 if subject is None else persons.setdefault(subject, len(persons)))
    return splits, groups


def material(workshop: Workshop, plan: Plan) -> Material:
    """Load the tensors and cut them; other rows of the forgotten persons serve neither method nor audit.

    Raises:
        Unavailable: since the plan was made rows were erased, and the file with them.
    """
    try:
        rows = _loaded(workshop, plan.dataset)
    except NotFound:
        with transaction(workshop.engine) as tx:
            leaving.refuse_moved(tx, plan.dataset)
        raise
    if len(rows) != len(plan.splits):
        raise InvalidDataset("The index and the tensors of the data set differ in their number of rows")
    return _cut(Rows(rows.x, rows.y, torch.tensor(plan.groups)), plan)


def _loaded(workshop: Workshop, dataset: Dataset) -> Rows:
    if dataset.tensors_key is None:
        raise Conflict("The data set is not indexed")
    with workshop.fetched(dataset.tensors_key) as path:
        return load_tensors(path, resident_mb=workshop.settings.resident_mb)      # what stays there outlives its name


def _cut(rows: Rows, plan: Plan) -> Material:
    splits, groups = torch.tensor(plan.splits), torch.tensor(plan.groups)
    forget, forgotten = _marks(len(rows), plan.forget), _marks(len(rows), plan.forgotten)
    others = ~torch.isin(groups, groups[forget | forgotten])
    retain = _marks(len(rows), plan.retained)
    taught = torch.isin(rows.y, rows.y[retain])     # unseen rows of a class that is gone are no model of unseen rows
    return Material(
        retain=rows.take(retain),
        forget=rows.take(forget),
        validation=rows.take((splits == VALIDATION) & others & taught),
        holdout=rows.take((splits == HOLDOUT) & others),
        canaries=None if plan.canaries is None else _pair(rows, *plan.canaries),
    )


def _pair(rows: Rows, inside: list[int], outside: list[int]) -> tuple[Rows, Rows]:
    return rows.take(torch.tensor(inside)), rows.take(torch.tensor(outside))


def _marks(n: int, rows: "list[int] | set[int]") -> Tensor:
    marks = torch.zeros(n, dtype=torch.bool)
    marks[torch.tensor(sorted(rows), dtype=torch.long)] = True
    return marks
