"""A certificate issued anew: the same request and work, judged by a later audit of the same model."""

from collections.abc import Mapping
from typing import NamedTuple
from uuid import UUID

from pydantic import TypeAdapter

from service.domain import certificates as c
from service.domain.evidence import evidence, limits
from service.domain.policy import Policy
from service.domain.recipes import Method
from service.domain.report import AuditReport

_METHOD: TypeAdapter[Method] = TypeAdapter(Method)


class Judged(NamedTuple):
    """A report, and the digests of its files."""

    report: AuditReport
    json_sha256: str
    pdf_sha256: str


def renewed(old: c.Predicate, judged: Judged, certificate_id: UUID, *, planted: bool) -> c.Predicate:
    """The predicate that takes the place of the old one; it says what the new audit says, whatever that is.

    Raises:
        pydantic.ValidationError: method or policy are of a menu that is no longer ours.
    """
    method, policy = _METHOD.validate_python(old.procedure.method), Policy.model_validate(old.verdict.policy)
    applied, report = policy.model_copy(update={"audit": judged.report.plan}).model_dump(mode="json"), judged.report
    request = old.request.model_copy(update={"certificate_id": certificate_id})
    return c.Predicate(
        request=request,
        procedure=old.procedure,
        evidence=evidence(report, judged.json_sha256),
        verdict=c.Verdict(
            value=report.verdict.value, reason=report.verdict.reason_code, policy=applied,
            policy_sha256=c.digest(applied), exact=old.verdict.exact,
        ),
        limits=limits(report, method, n_samples=request.n_samples, planted=planted),
        follow_up=old.follow_up,
        supersedes=old.request.certificate_id,
    )


def subjects(old: Mapping[str, str], judged: Judged) -> dict[str, str]:
    """What the new certificate speaks of: all that the old one did, but other reports."""
    kept = {name: digest for name, digest in old.items() if not name.endswith((".json", ".pdf"))}
    reports = {"report.json": judged.json_sha256, "report.pdf": judged.pdf_sha256}
    recipe = judged.report.recipe_evidence
    return kept | reports | ({} if recipe is None else {"recipe-report.json": recipe.report_sha256})
