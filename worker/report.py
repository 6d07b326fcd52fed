"""An audit report as bytes: canonical JSON, a page for the eye, a PDF for the file. Same report, same bytes."""

import rfc8785

from service.domain.report import AuditReport
from worker.pages import page
from worker.paper import pdf

__all__ = ["to_html", "to_json", "to_pdf"]


def to_json(report: AuditReport) -> bytes:
    """Canonical JSON (RFC 8785); its digest stands in the certificate."""
    return rfc8785.dumps(report.model_dump(mode="json"))


def to_html(report: AuditReport) -> bytes:
    """One self-contained page."""
    return page(report).encode()


def to_pdf(report: AuditReport) -> bytes:
    """A4; the fonts are embedded."""
    return pdf(report)
