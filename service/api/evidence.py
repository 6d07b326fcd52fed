"""What proves a deletion: the audit report, the certificate, and the bundle that a third party verifies offline."""

from typing import Any
from uuid import UUID

from fastapi import APIRouter, Response
from sqlalchemy.orm import Session

from service.api import reports
from service.api.deps import Context, Ctx, Tx
from service.db import audits, deletion_requests, jobs, ledger
from service.db.tables import Certificate, DeletionRequest
from service.errors import NotYet
from service.ledger import bundle, proofs
from service.ledger.case import REPORTS
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
    made = jobs.get(tx, request.job_id).result["report"]
    return made if made["json"] == request.report_key else audits.report_forms(tx, request)


@router.get("/{request_id}/certificate", response_class=Response, responses=_content("application/json"))
def certificate(request_id: UUID, tx: Tx) -> Response:
    """The signed statement: a DSSE envelope, byte for byte as it stands in the ledger."""
    request = deletion_requests.get(tx, request_id)
    return Response(_certificate(tx, request).envelope, media_type="application/json")


def _certificate(tx: Session, request: DeletionRequest) -> Certificate:
    if request.ended_at is None:
        raise NotYet("The request is not certified yet")
    return ledger.certificate_of(tx, request.id)


@router.get("/{request_id}/bundle", response_class=Response, responses=_content("application/zip"))
def get_bundle(request_id: UUID, tx: Tx, ctx: Ctx) -> Response:
    """Certificate, report and proofs in a zip that `expunge verify` checks without this service."""
    request = deletion_requests.get(tx, request_id)
    certificate = _certificate(tx, request)
    files = _reports(ctx, certificate.envelope)
    archive = bundle.make(
        envelope=certificate.envelope, **_proof(tx, certificate.id), later=_later(tx, certificate), trust=ctx.trust,
        report_json=files["report.json"], report_pdf=files.get("report.pdf"),
        recipe_report=files.get("recipe-report.json"),
    )
    name = f'attachment; filename="{request.id}.zip"'
    return Response(archive, media_type="application/zip", headers={"Content-Disposition": name})


def _reports(ctx: Context, envelope: bytes) -> dict[str, bytes]:
    """The files among the certificate's subjects that belong into its bundle."""
    subjects = items(read_json(payload(envelope)), "subject")
    keys = {field(each, "name", str): key_of(field(each, "digest.sha256", str)) for each in subjects}
    return {name: reports.read(ctx, keys[name]) for name in REPORTS if name in keys}


def _proof(tx: Session, entry_id: UUID) -> dict[str, str]:
    receipt = proofs.receipt(tx, entry_id)
    if receipt is None:
        raise NotYet("The certificate waits for its place in the ledger")
    return {"tlog_proof": receipt.tlog_proof, "checkpoint": receipt.checkpoint}


def _later(tx: Session, certificate: Certificate) -> list[tuple[bytes, str]]:
    """What else the ledger says of the request by now."""
    others = (leaf for leaf in ledger.entries_of(tx, certificate.request_id) if leaf.entry_id != certificate.id)
    return [(leaf.envelope, _proof(tx, leaf.entry_id)["tlog_proof"]) for leaf in others]
