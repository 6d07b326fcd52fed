"""All tables, so that the metadata is complete wherever one of them is imported."""

from service.db.tables.audits import Audit, ReferenceModel
from service.db.tables.base import Base
from service.db.tables.canaries import Canary
from service.db.tables.datasets import CANARY, ERASED, HOLDOUT, TRAIN, VALIDATION, Dataset, Sample
from service.db.tables.erasures import Purge, Suppressed
from service.db.tables.idempotency import IdempotentReply
from service.db.tables.jobs import Job, Outbox
from service.db.tables.ledger import (
    Certificate,
    EntryOfRequest,
    LedgerAnchored,
    LedgerCheck,
    LedgerCheckpoint,
    LedgerHead,
    LedgerInbox,
    LedgerLeaf,
    LedgerNode,
)
from service.db.tables.models import Model, ModelVersion
from service.db.tables.recipe_audits import RecipeAudit
from service.db.tables.requests import CommitmentSalt, DeletionRequest, ForgetRow, RequestEvent

__all__ = [
    "CANARY",
    "ERASED",
    "HOLDOUT",
    "TRAIN",
    "VALIDATION",
    "Audit",
    "Base",
    "Canary",
    "Certificate",
    "CommitmentSalt",
    "Dataset",
    "DeletionRequest",
    "EntryOfRequest",
    "ForgetRow",
    "IdempotentReply",
    "Job",
    "LedgerAnchored",
    "LedgerCheck",
    "LedgerCheckpoint",
    "LedgerHead",
    "LedgerInbox",
    "LedgerLeaf",
    "LedgerNode",
    "Model",
    "ModelVersion",
    "Outbox",
    "Purge",
    "RecipeAudit",
    "ReferenceModel",
    "RequestEvent",
    "Sample",
    "Suppressed",
]
