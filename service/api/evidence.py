"""What proves a deletion: the audit report, the certificate, and the bundle that a third party verifies offline."""

from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Header, Response
from sqlalchemy.orm import Session

from service.api.deps import Context, Ctx, Tx
from service.db import deletion_requests, jobs, ledger
from service.db.tables import DeletionRequest
from service.errors import NotYet
from service.ledger import bundle, proofs

router = APIRouter(prefix="/deletion-requests", tags=["evidence"])
KINDS = {"application/json": "json", "text/html": "html", "application/pdf": "pdf"}


def _content(*kinds: str) -> dict[int | str, dict[str, Any]]:
    return {200: {"content": {kind: {} for kind in kinds}}}


@router.get("/{request_id}/audit-report", response_class=Response, responses=_content(*KINDS))
def audit_report(request_id: UUID, tx: Tx, ctx: Ctx, accept: Annotated[str, Header()] = "*/*") -> Response:
    """The audit's report: JSON, or HTML or PDF by Accept."""
    media = next((kind for kind in KINDS if kind in accept), "application/json")
    key = _report_keys(tx, deletion_requests.get(tx, request_id))[KINDS[media]]
    return Response(_read(ctx, key), media_type=media)


def _report_keys(tx: Session, request: DeletionRequest) -> dict[str, str]:
    if request.job_id is None or request.report_key is None:
        raise NotYet("The audit of this request has not ended")
    return jobs.get(tx, request.job_id).result["report"]


def _read(ctx: Context, key: str) -> bytes:
    return b"".join(ctx.store.open(key))


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
        envelope=envelope, **_proof(tx, request), report_json=_read(ctx, keys["json"]),
        report_pdf=_read(ctx, keys["pdf"]), trust=ctx.trust,
    )
    name = f'attachment; filename="{request.id}.zip"'
    return Response(archive, media_type="application/zip", headers={"Content-Disposition": name})


def _proof(tx: Session, request: DeletionRequest) -> dict[str, str]:
    receipt = proofs.receipt(tx, ledger.certificate_of(tx, request.id).id)
    if receipt is None:
        raise NotYet("The certificate waits for its place in the ledger")
    return {"tlog_proof": receipt.tlog_proof, "checkpoint": receipt.checkpoint}
