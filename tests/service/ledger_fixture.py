"""What the ledger's tests are filled with: requests, statements and certificates that hold no person."""

from datetime import UTC, datetime
from hashlib import sha256
from uuid import uuid4

from sqlalchemy import text

from service.db.session import transaction
from service.db.tables import DeletionRequest
from service.domain import certificates
from service.ledger.append import issue
from service.ledger.envelopes import seal

ORIGIN = "test.example/log"
REPORT = b'{"attacks":[]}'


def add_request(tx):
    """A deletion request of a model that nobody needs here, so its foreign keys sleep."""
    now = datetime.now(UTC)
    request = DeletionRequest(
        id=uuid4(), model_id=uuid4(), state="auditing", target_kind="samples", n_targets=3, n_samples=3,
        ground="art-17-1-b", forget_root=b"\0" * 32, received_at=now, due_at=now, due_basis="test",
    )  # fmt: skip
    tx.execute(text("SET LOCAL session_replication_role = replica"))
    tx.add(request)
    tx.flush()
    tx.execute(text("SET LOCAL session_replication_role = DEFAULT"))
    return request.id


def predicate(certificate_id, request_id):
    method = {"name": "nabla_tau", "lr": 1e-3, "passes": 3.0}
    start, end = datetime(2025, 3, 1, 9, tzinfo=UTC), datetime(2025, 3, 1, 9, 0, 7, tzinfo=UTC)
    due = datetime(2025, 4, 1, 23, 59, 59, tzinfo=UTC)
    leaked = certificates.Attempt(recipe={"name": "nabla_tau"}, outcome="leaked", verdict="LEAK_DETECTED", seconds=3)
    passed = certificates.Attempt(
        recipe=method, outcome="published", verdict="EQUIVALENT_WITHIN_MARGIN", seconds=4.5, headline={"auc": 0.5016}
    )
    metric = certificates.Metric(
        name="auc_loss", definition="area under the ROC curve of the loss", before=0.763, after=0.5 + 1 / 3e4,
        reference=0.496, before_ci=(0.75, 0.78), after_ci=(0.48, 0.52), reference_ci=(0.47, 0.52),
    )  # fmt: skip
    return certificates.Predicate(
        request=certificates.Request(
            certificate_id=certificate_id, request_id=request_id, target_kind="samples", n_samples=3,
            forget_root="0f" * 32, ground="art-17-1-b", received_at=start, due_at=due,
        ),
        procedure=certificates.Procedure(
            method=method, seed=7, code_digest="ab" * 32, versions={"torch": "2.11.0"}, device="cpu", started_at=start,
            finished_at=end, seconds=7.5, attempts=(leaked, passed),
        ),
        evidence=certificates.Evidence(metrics=(metric,), report_sha256=sha256(REPORT).hexdigest(), references_k=1),
        verdict=certificates.Verdict(
            value="EQUIVALENT_WITHIN_MARGIN", reason="within the margin", policy_sha256="cd" * 32, exact=False
        ),
        limits=certificates.limits(exact=False),
    )  # fmt: skip


def subjects(**more):
    return {"model-before": "11" * 32, "model-after": "22" * 32, "report.json": sha256(REPORT).hexdigest(), **more}


def sealed(deployment, certificate_id, request_id):
    return seal(certificates.statement(subjects(), predicate(certificate_id, request_id)), deployment.certificate)


def issue_one(engine, deployment):
    certificate_id = uuid4()
    with transaction(engine) as tx:
        request_id = add_request(tx)
        envelope = sealed(deployment, certificate_id, request_id)
        issue(tx, request_id=request_id, certificate_id=certificate_id, envelope=envelope)
    return certificate_id, request_id, envelope
