"""What would decide an audit that could not, and what that takes; the cheapest thing first."""

from typing import Final

from service.domain.policy import REFERENCES, AuditPlan
from service.domain.recipe_audits import RecipePlan
from service.domain.recipes import Reference
from service.domain.report import NextRung, Power, Reason, References
from worker.power import planned, units_needed

UNDECIDED: Final[frozenset[Reason]] = frozenset({"no_power", "underpowered"})


def next_rung(reason: Reason, plan: AuditPlan, power: Power | None, references: References) -> NextRung | None:
    """None where the audit was decided, or where better data are needed and not a better attack."""
    if reason not in UNDECIDED or power is None:
        return None
    if power.forget_units < 2:
        return _recipe("one person's rows are too few for any attack on a single model; ")
    if reason == "no_power":
        beside = any(isinstance(rung, Reference) for rung in plan.rungs)
        return _recipe("") if beside else _references(references, "it attacks row by row, and may see what this missed")
    return _larger(plan, power, references)


def _larger(plan: AuditPlan, power: Power, references: References) -> NextRung:
    """Retrained models make up for rows by pairing, if that is enough; else more has to be forgotten."""
    n, m = power.forget_units, power.holdout_units
    if not references.k and planned(plan.margin, n, m, k=REFERENCES) >= plan.power:
        return _references(references, "it compares on the same rows, where the difference varies less")
    more = units_needed(plan.margin, plan.power, m, k=references.k)
    if more is None or more <= n:
        return _recipe("a larger number of rows would not decide it; ")
    return NextRung(
        name="population",
        decides="the same attack on more rows: deletion requests that are served together are audited together",
        trainings=0,
        forget_units=more,
    )


def _references(references: References, why: str) -> NextRung:
    return NextRung(
        name="reference",
        decides=f"comparison with {REFERENCES} retrained models: {why}",
        trainings=max(0, REFERENCES - references.k),
    )


def _recipe(why: str) -> NextRung:
    shadows = RecipePlan.model_fields["shadows"].default
    return NextRung(
        name="ulira",
        decides=(
            f"{why}an audit of the recipe itself, once for all requests that it serves: U-LiRA over {shadows} shadow "
            "models; or canaries that are planted before training"
        ),
        trainings=shadows,
    )
