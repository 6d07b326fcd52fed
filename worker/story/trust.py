"""Can the audit be trusted, what could it see, and did the model stay useful?"""

from service.domain.report import Accuracy, AuditReport
from worker import figures
from worker.story.blocks import Plot, Section, Table
from worker.story.numbers import chance, percent, three, within, within_signed
from worker.wording import span

CURVE = (
    "Chance that a leak of a given size raises the alarm, for the numbers of persons and records of this audit. "
    "Smaller leaks go unnoticed."
)


def accuracies(report: AuditReport) -> Section:
    """One line per set of rows."""
    sets = {
        "Retained": report.utility.retain,
        "Forgotten": report.utility.forget,
        "Held-out": report.utility.holdout,
    }
    rows = tuple(_accuracy(name, of) for name, of in sets.items() if of is not None)
    baseline = "the retrained models" if report.utility.baseline == "reference" else "the model before"
    head = ("Records", "n", "Before (95 %)", "After (95 %)", "Retrained (95 %)", "After less baseline (90 %)")
    table = Table(f"Accuracy; the baseline is {baseline}", head, rows, (19, 14, 30, 30, 30, 40))
    return Section("Is the model still useful?", (), (table,))


def checks(report: AuditReport) -> Section:
    """Controls, and power."""
    table = Table("Checks of the audit itself", ("Check", "Outcome", "What it means"), tuple(_checks(report)),
                  (36, 22, 116))
    curve: tuple[Plot, ...] = ()
    if (power := report.power) is not None and power.curve:
        curve = (Plot("Power curve", CURVE, lambda: figures.power(power, report.plan.power)),)
    return Section("Can this audit be trusted?", (), (table, *curve))


def _checks(report: AuditReport) -> list[tuple[str, str, str]]:
    rows = _controls(report)
    rows.append(("Utility guard", _passed(report.utility.guard == "pass"), "no accuracy fell by more than its margin"))
    if (power := report.power) is not None:
        seen = f"smallest AUC found with {percent(report.plan.power)} power at level {report.plan.alpha:g}"
        rows.append(("Sensitivity", three(power.min_detectable_auc), seen))
        planned = "chance to show equivalence if nothing leaks"
        rows.append(("Power for the margin", percent(power.planned_power_at_margin), planned))
    return rows


def _controls(report: AuditReport) -> list[tuple[str, str, str]]:
    null, positive, oracle = report.controls.null, report.controls.positive, report.controls.oracle
    rows: list[tuple[str, str, str]] = []
    if null:
        rows.append(("Null control", _passed(null.passed), f"held-out against held-out: p = {chance(null.p)}"))
    if positive:
        seen = f"the model before shows an AUC of {span(positive.ci95)}; more than {positive.needed:.3f} is needed"
        rows.append(("Positive control", _passed(positive.passed), seen))
    if oracle:
        rows.append(
            ("Oracle control", f"{oracle.n_passed} of {oracle.n_total}", "retrained models that pass the same audit")
        )
    return rows


def _accuracy(name: str, of: Accuracy) -> tuple[str, ...]:
    return (
        name,
        f"{of.n:,}",
        within(of.before, of.before_ci95),
        within(of.after, of.after_ci95),
        within(of.reference, of.reference_ci95),
        within_signed(of.gap, of.gap_ci90),
    )


def _passed(yes: object) -> str:
    return "passed" if yes else "failed"
