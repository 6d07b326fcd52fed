"""The decision rule of the audit. A pass is never called a proof."""

from typing import Final

from service.domain.policy import AuditPlan
from service.domain.report import Claim, Found, Heldout, Reason, References, Utility, Verdict, VerdictValue
from worker.next_rung import next_rung
from worker.wording import statement

NOT_CLAIMED = (
    "that no other attack, or one with more knowledge, would succeed",
    "an upper bound on what the model still reveals",
    "anything about backups, copies or other models trained on the same rows",
    "that every single record is protected: the attacks look at all forgotten rows together",
)
EXACT = "that the retraining left the rows out: this follows from the record of the procedure, not from an attack"


VALUES: Final[dict[Reason, VerdictValue]] = {"leak": "LEAK_DETECTED", "within_margin": "EQUIVALENT_WITHIN_MARGIN"}


def judge(
    plan: AuditPlan, found: Found, facts: Heldout, useful: Utility, *, references: References, claim: Claim
) -> Verdict:
    """Everything that is neither a leak nor shown to be equivalent is inconclusive."""
    reason = decide(plan, found, facts, useful)
    return Verdict(
        value=VALUES.get(reason, "INCONCLUSIVE"),
        reason_code=reason,
        statement=statement(reason, plan, found, facts, useful=useful, references=references),
        not_claimed=(*NOT_CLAIMED, EXACT) if claim == "exact" else NOT_CLAIMED,
        next_rung=next_rung(reason, plan, found.power, references),
    )


def decide(plan: AuditPlan, found: Found, facts: Heldout, useful: Utility) -> Reason:
    """In this order: void → leak → no power → equivalent → not shown."""
    if facts.forget_rows_unmatched:
        return "unmatched"
    if found.power is None:
        return "too_few_holdout"
    if found.controls.null is None or not found.controls.null.passed:
        return "invalid"
    if any(result.flagged for result in found.results):
        return "leak"
    if found.controls.positive is None or not found.controls.positive.passed:
        return "no_power"
    if not all(r.equivalent for r in found.results) or found.power.planned_power_at_margin < plan.power:
        return "underpowered"
    return "within_margin" if useful.within_margin else "utility"
