"""A certificate as the service issues them, about a request that nobody made."""

from datetime import UTC, datetime, timedelta
from hashlib import sha256
from uuid import UUID, uuid4

from sqlalchemy import insert
from sqlalchemy.orm import Session

from service.db.tables import Dataset, DeletionRequest, Model
from service.domain import certificates
from service.domain.certificates import Attack, Attempt, Environment, Evidence, Metric, Predicate, Procedure
from service.ledger.append import issue
from service.ledger.envelopes import seal
from service.ledger.keys import Pair

REPORT = b'{"attacks":[]}'
_RECEIVED = datetime(2026, 1, 5, 9, tzinfo=UTC)
_DUE = _RECEIVED + timedelta(days=31)
_ZEROS = "0" * 64


def add_model(tx: Session) -> UUID:
    """A model of which rows can be asked to be forgotten; its id."""
    dataset = Dataset(name="d", file_key="f", source_sha256=_ZEROS, options={}, facts={})
    tx.add(dataset)
    tx.flush()
    model = Model(name="m", dataset_id=dataset.id, spec={}, policy={})
    tx.add(model)
    tx.flush()
    return model.id


def add_request(tx: Session, model_id: UUID) -> UUID:
    """A deletion request that waits for its certificate; its id."""
    request_id = uuid4()
    tx.execute(insert(DeletionRequest).values(
        id=request_id, model_id=model_id, state="auditing", target_kind="samples", n_targets=1, n_samples=1,
        ground="art-17-1-b", forget_root=bytes(32), received_at=_RECEIVED, due_at=_DUE, due_basis="one month",
    ))  # fmt: skip
    return request_id


def certify(tx: Session, request_id: UUID, pair: Pair) -> UUID:
    """Issue the request's certificate; its id."""
    certificate_id = uuid4()
    subjects = {"model-before": _ZEROS, "model-after": _ZEROS, "report.json": sha256(REPORT).hexdigest()}
    envelope = seal(certificates.statement(subjects, _predicate(certificate_id, request_id)), pair)
    issue(tx, request_id=request_id, certificate_id=certificate_id, envelope=envelope)
    return certificate_id


def _predicate(certificate_id: UUID, request_id: UUID) -> Predicate:
    return Predicate(
        request=certificates.Request(
            certificate_id=certificate_id, request_id=request_id, target_kind="samples", n_samples=1, due_at=_DUE,
            forget_root=_ZEROS, ground="art-17-1-b", received_at=_RECEIVED, due_basis="one month",
        ),
        procedure=_procedure(),
        evidence=Evidence(
            attacks=(Attack(rung="population", n_member=1, n_nonmember=90, n_models=1, smallest_detectable=0.08),),
            metrics=(Metric(name="auc_loss", definition="area under the ROC curve of the loss", after=0.5016),),
            intervals="95 %", report_sha256=sha256(REPORT).hexdigest(), references_k=1,
        ),
        verdict=certificates.Verdict(
            value="EQUIVALENT_WITHIN_MARGIN", reason="within the margin", policy={}, exact=False,
            policy_sha256=certificates.digest({}),
        ),
        follow_up=certificates.FollowUp(erase_by=_DUE, suppressed=True),
        limits=certificates.limits(exact=False),
    )  # fmt: skip


def _procedure() -> Procedure:
    method: certificates.Recipe = {"name": "nabla_tau"}
    environment = Environment(
        platform="Linux", accelerator=None, driver=None, threads=1, deterministic=False, image_sha256=None
    )
    return Procedure(
        method=method, training_sha256=_ZEROS, seed=0, code_digest=_ZEROS, versions={}, device="cpu",
        environment=environment, job_id=uuid4(), runs=1, parent_job_id=None, started_at=_RECEIVED,
        finished_at=_RECEIVED, seconds=1, accelerator_seconds=0,
        attempts=(Attempt(recipe=method, outcome="published", seconds=1, headline={}),),
    )  # fmt: skip
