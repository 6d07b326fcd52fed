"""All tables, so that the metadata is complete wherever one of them is imported."""

from service.db.tables.base import Base
from service.db.tables.datasets import HOLDOUT, TRAIN, VALIDATION, Dataset, Sample
from service.db.tables.idempotency import IdempotentReply
from service.db.tables.jobs import Job, Outbox
from service.db.tables.models import Model, ModelVersion
from service.db.tables.requests import CommitmentSalt, DeletionRequest, ForgetRow, RequestEvent

__all__ = [
    "HOLDOUT",
    "TRAIN",
    "VALIDATION",
    "Base",
    "CommitmentSalt",
    "Dataset",
    "DeletionRequest",
    "ForgetRow",
    "IdempotentReply",
    "Job",
    "Model",
    "ModelVersion",
    "Outbox",
    "RequestEvent",
    "Sample",
]
