"""`expunge ledger revoke` and `expunge ledger supersede`: say in the ledger that a certificate no longer counts.

Exit codes: 0 written; 3 no such request, certificate or audit; 4 it is revoked already, or the audit is of another
model, version or set of rows, or has no report; 5 the audit has not ended; 1 anything else.
"""

from uuid import UUID

from service.commands.database import Codes, database
from service.db.session import transaction
from service.domain.entries import Reason
from service.domain.report import AuditReport
from service.errors import Conflict, NotFound, NotYet
from service.ledger import corrections
from service.ledger.corrections import Written
from service.ledger.keyring import Keyring
from service.settings import Settings
from service.storage import open_store

CODES: Codes = {NotFound: 3, NotYet: 5, Conflict: 4}


def revoke(request_id: UUID, *, reason: Reason) -> None:
    """Revoke the certificate of a request; it stays in the ledger, and an entry says that it no longer counts.

    Args:
        request_id: whose newest certificate it is.
        reason: is signed and public.
    """
    settings = Settings()
    with database(settings, codes=CODES) as engine, transaction(engine) as tx:
        key = Keyring.of(settings).keys.certificate
        written = corrections.revoke(tx, request_id, reason=reason, key=key)
    _tell(request_id, written, "revoked")


def supersede(request_id: UUID, *, audit: UUID, reason: Reason) -> None:
    """Issue the certificate of a request anew, on the evidence of a later audit of the same model.

    Args:
        request_id: whose newest certificate is superseded.
        audit: id of a finished audit (POST /audits) of the same two versions, which looked at all rows of the request.
        reason: is signed and public.
    """
    settings = Settings()
    with database(settings, codes=CODES) as engine:
        key = Keyring.of(settings).keys.certificate
        with transaction(engine) as tx:
            forms = corrections.report_of(tx, audit)
        report = _read(settings, forms["json"])
        with transaction(engine) as tx:
            written = corrections.supersede(tx, request_id, audit, report=report, reason=reason, key=key)
    _tell(request_id, written, "superseded")
    print(f"certificate {written.by} counts in its place: {report.verdict.value}")


def _read(settings: Settings, key: str) -> AuditReport:
    store = open_store(settings.store, endpoint=settings.s3_endpoint)
    return AuditReport.model_validate_json(b"".join(store.open(key)))


def _tell(request_id: UUID, written: Written, done: str) -> None:
    print(f"certificate {written.certificate_id} of request {request_id} is {done}")
    print(f"entry {written.entry_id} waits for its place in the ledger: GET /deletion-requests/{request_id}/entries")
