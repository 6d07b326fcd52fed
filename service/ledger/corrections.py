"""Corrections: a certificate is never changed; later entries say that it no longer counts, and what does.

    revoke      an entry with a reason; nothing takes the certificate's place
    supersede   a new certificate of the same request, judged by a later audit of the same model, and an entry

A revoked certificate stays revoked: nothing supersedes it.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from hashlib import sha256
from typing import NamedTuple
from uuid import UUID, uuid4

from pydantic import ValidationError
from sqlalchemy.orm import Session

from service.db import audits, datasets, deletion_requests, jobs, ledger, models
from service.db.certificates import standings
from service.db.tables import Audit, DeletionRequest
from service.db.tables.ledger import Certificate
from service.domain import merkle
from service.domain.certificates import Predicate, statement
from service.domain.entries import Action, Corrected, Reason, correction_id
from service.domain.renewals import Judged, renewed, subjects
from service.domain.report import AuditReport
from service.errors import Conflict, NotYet
from service.ledger import append
from service.ledger.envelopes import payload, seal
from service.ledger.signers import Pair
from service.ledger.untrusted import at, field, items, read_json
from service.storage import digest_of


class Written(NamedTuple):
    """What a correction has put into the queue for the ledger."""

    entry_id: UUID
    certificate_id: UUID        # that no longer counts
    by: UUID | None             # that counts in its place


@dataclass(frozen=True, slots=True)
class _Old:
    """The certificate that is to be corrected, read from what was signed."""

    request: DeletionRequest
    row: Certificate

    @property
    def subjects(self) -> dict[str, str]:
        listed = items(read_json(payload(self.row.envelope)), "subject")
        return {field(each, "name", str): field(each, "digest.sha256", str) for each in listed}

    @property
    def predicate(self) -> Predicate:
        return Predicate.model_validate(at(read_json(payload(self.row.envelope)), "predicate"))


def revoke(tx: Session, request_id: UUID, *, reason: Reason, key: Pair) -> Written:
    """Say that the request's certificate no longer counts.

    Raises:
        NotFound: there is no such request, or it has no certificate.
        Conflict: the certificate is revoked already.
    """
    return _correct(tx, _standing(tx, request_id), "revokes", reason=reason, key=key, by=None)


def report_of(tx: Session, audit_id: UUID) -> Mapping[str, str]:
    """Form → key in the store, of the report of an audit.

    Raises:
        NotFound: there is no such audit.
        NotYet, Conflict: it has not ended, or has ended without a report.
    """
    job = jobs.get(tx, audits.get(tx, audit_id).job_id)
    if job.status in jobs.OPEN:
        raise NotYet("The audit has not ended")
    if job.status != "succeeded":
        raise Conflict(f"The audit has ended without a report: it is {job.status}")
    return job.result["report"]


def supersede(
    tx: Session, request_id: UUID, audit_id: UUID, *, report: AuditReport, reason: Reason, key: Pair
) -> Written:
    """Issue the request's certificate anew, on the evidence of a later audit, and say that the old one is superseded.

    Args:
        report: of that audit; see `report_of`.
    Raises:
        NotFound, Conflict: as above; or the audit looked at another model, version or set of rows.
    """
    old, forms, certificate_id = _standing(tx, request_id), report_of(tx, audit_id), uuid4()
    _refuse_others(tx, old, audits.get(tx, audit_id))
    judged = Judged(report, digest_of(forms["json"]), digest_of(forms["pdf"]))
    envelope = seal(_statement(tx, old, judged, certificate_id), key)
    append.issue(tx, request_id=request_id, certificate_id=certificate_id, envelope=envelope, supersedes=old.row.id)
    deletion_requests.judge_anew(tx, old.request, verdict=report.verdict.value, report_key=forms["json"])
    return _correct(tx, old, "supersedes", reason=reason, key=key, by=certificate_id)


def _standing(tx: Session, request_id: UUID) -> _Old:
    """The newest certificate; the request stays locked, so that two corrections cannot cross."""
    request = deletion_requests.lock(tx, request_id)
    newest = ledger.certificate_of(tx, request_id)
    if any(each.revoked for each in standings(tx, [request_id]) if each.id == newest.id):
        raise Conflict("The certificate is revoked already")
    return _Old(request, newest)


def _refuse_others(tx: Session, old: _Old, audit: Audit) -> None:
    """The audit has to be of the certificate's two models, and of all of the request's rows."""
    if audit.model_id != old.request.model_id:
        raise Conflict("The audit is of another model")
    if audit.version_id != old.request.version_id:
        raise Conflict("The audit is of another version than the one that the certificate speaks of")
    before = models.version_by_id(tx, audit.before_id)
    if digest_of(before.weights_key) != old.subjects["model-before"]:
        raise Conflict("The audit compares with another version than the certificate")
    if not set(deletion_requests.rows(tx, old.request.id)) <= set(audit.rows):
        raise Conflict("The audit did not look at all rows of the request")


def _statement(tx: Session, old: _Old, judged: Judged, certificate_id: UUID) -> bytes:
    dataset = datasets.by_id(tx, models.by_id(tx, old.request.model_id).dataset_id)
    try:
        predicate = renewed(old.predicate, judged, certificate_id, planted="canary" in dataset.facts["splits"])
    except ValidationError:
        raise Conflict("The certificate is of an earlier schema or menu, and can only be revoked") from None
    return statement(subjects(old.subjects, judged), predicate)


def _correct(tx: Session, old: _Old, action: Action, *, reason: Reason, key: Pair, by: UUID | None) -> Written:
    entry = Corrected(
        request_id=old.request.id, action=action, certificate_id=old.row.id, by=by, reason=reason,
        leaf_hash=merkle.leaf_hash(old.row.envelope).hex(), at=datetime.now(UTC),
    )
    entry_id = append.record(
        tx, entry, key, subjects={"envelope.json": sha256(old.row.envelope).hexdigest()},
        requests=[old.request.id], entry_id=correction_id(old.row.id, action),
    )
    told = {"action": action, "certificate": str(old.row.id), "reason": reason, "by": by and str(by)}
    deletion_requests.record(tx, old.request.id, "corrected", told)
    return Written(entry_id, old.row.id, by)
