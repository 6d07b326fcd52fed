"""All tables, so that the metadata is complete wherever one of them is imported."""

from service.db.tables.base import Base
from service.db.tables.datasets import HOLDOUT, TRAIN, VALIDATION, Dataset, Sample
from service.db.tables.idempotency import IdempotentReply
from service.db.tables.jobs import Job, Outbox
from service.db.tables.ledger import Certificate, LedgerCheckpoint, LedgerHead, LedgerInbox, LedgerLeaf, LedgerNode
from service.db.tables.models import Model, ModelVersion
from service.db.tables.requests import CommitmentSalt, DeletionRequest, ForgetRow, RequestEvent

__all__ = [
    "HOLDOUT",
    "TRAIN",
    "VALIDATION",
    "Base",
    "Certificate",
    "CommitmentSalt",
    "Dataset",
    "DeletionRequest",
    "ForgetRow",
    "IdempotentReply",
    "Job",
    "LedgerCheckpoint",
    "LedgerHead",
    "LedgerInbox",
    "LedgerLeaf",
    "LedgerNode",
    "Model",
    "ModelVersion",
    "Outbox",
    "RequestEvent",
    "Sample",
]
