"""What proves a deletion: the audit report, the certificate, and the bundle that a third party verifies offline."""

from typing import Any
from uuid import UUID

from fastapi import APIRouter, Response
from sqlalchemy.orm import Session

from service.api import reports
from service.api.deps import Context, Ctx, Tx
from service.db import deletion_requests, jobs, ledger
from service.db.tables import DeletionRequest
from service.errors import NotYet
from service.ledger import bundle, proofs
from service.ledger.envelopes import payload
from service.ledger.untrusted import field, items, read_json
from service.storage import key_of

router = APIRouter(prefix="/deletion-requests", tags=["evidence"])


def _content(*kinds: str) -> dict[int | str, dict[str, Any]]:
    return {200: {"content": {kind: {} for kind in kinds}}}


@router.get("/{request_id}/audit-report", response_class=Response, responses=reports.RESPONSES)
def audit_report(request_id: UUID, tx: Tx, ctx: Ctx, accept: reports.Accept = "*/*") -> Response:
    """The audit's report: JSON, or HTML or PDF by Accept."""
    return reports.respond(ctx, _report_keys(tx, deletion_requests.get(tx, request_id)), accept)


def _report_keys(tx: Session, request: DeletionRequest) -> dict[str, str]:
    if request.job_id is None or request.report_key is None:
        raise NotYet("The audit of this request has not ended")
    return jobs.get(tx, request.job_id).result["report"]


@router.get("/{request_id}/certificate", response_class=Response, responses=_content("application/json"))
def certificate(request_id: UUID, tx: Tx) -> Response:
    """The signed statement: a DSSE envelope, byte for byte as it stands in the ledger."""
    request = deletion_requests.get(tx, request_id)
    return Response(_envelope(tx, request), media_type="application/json")


def _envelope(tx: Session, request: DeletionRequest) -> bytes:
    if request.ended_at is None:
        raise NotYet("The request is not certified yet")
    return ledger.certificate_of(tx, request.id).envelope


@router.get("/{request_id}/bundle", response_class=Response, responses=_content("application/zip"))
def get_bundle(request_id: UUID, tx: Tx, ctx: Ctx) -> Response:
    """Certificate, report and proofs in a zip that `expunge verify` checks without this service."""
    request = deletion_requests.get(tx, request_id)
    envelope, keys = _envelope(tx, request), _report_keys(tx, request)
    archive = bundle.make(
        envelope=envelope, **_proof(tx, request), report_json=reports.read(ctx, keys["json"]),
        report_pdf=reports.read(ctx, keys["pdf"]), recipe_report=_recipe_report(ctx, envelope), trust=ctx.trust,
    )
    name = f'attachment; filename="{request.id}.zip"'
    return Response(archive, media_type="application/zip", headers={"Content-Disposition": name})


def _recipe_report(ctx: Context, envelope: bytes) -> bytes | None:
    """The one among the certificate's subjects, if there is one."""
    subjects = items(read_json(payload(envelope)), "subject")
    named = (each for each in subjects if field(each, "name", str) == "recipe-report.json")
    digest = next((field(each, "digest.sha256", str) for each in named), None)
    return None if digest is None else reports.read(ctx, key_of(digest))


def _proof(tx: Session, request: DeletionRequest) -> dict[str, str]:
    receipt = proofs.receipt(tx, ledger.certificate_of(tx, request.id).id)
    if receipt is None:
        raise NotYet("The certificate waits for its place in the ledger")
    return {"tlog_proof": receipt.tlog_proof, "checkpoint": receipt.checkpoint}
