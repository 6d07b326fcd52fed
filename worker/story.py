"""What the pages of a report say: one content for HTML and PDF, as plain text."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from service.domain.report import Accuracy, AuditReport, VerdictValue
from worker.wording import signal_name, span

TITLES: Final[dict[VerdictValue, str]] = {
    "EQUIVALENT_WITHIN_MARGIN": "No difference beyond the margin",
    "LEAK_DETECTED": "Leak detected",
    "INCONCLUSIVE": "Inconclusive",
}
HOW_TO_READ: Final = (
    "An attacker is shown two records, one that was to be forgotten and one that no model ever saw, and has to say "
    "which is which. The AUC is the share of such pairs it gets right: 0.5 is guessing, 1 is always right, and far "
    "below 0.5 is as telling as far above. Before the deletion it should be high, or there was nothing to see."
)
INTERVALS: Final = "Attack AUC of each signal with its 95 % interval; the dotted line at 0.5 is guessing."
HISTOGRAMS: Final = (
    "Losses of forgotten and held-out records, before and after; after the deletion the two should look alike. "
    "Held-out records are weighted to the forgotten ones' classes."
)


@dataclass(frozen=True)
class Table:
    """Rows of text; the first column names the row."""

    caption: str
    head: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


def asked(report: AuditReport) -> str:
    """What was asked, what was done, and how it was checked."""
    forget, held = report.forget_set, report.heldout
    done = (
        "A new version of the model was trained from scratch without them."
        if report.claim == "exact"
        else "A new version of the model was made by an unlearning method, which approximates training without them."
    )
    k = report.references.k
    beside = f", beside {_count(k, 'model')} retrained without them," if k else ""
    were = "was" if forget.n == 1 else "were"
    return (
        f"{_count(forget.n, 'record')} of {_count(forget.n_groups, 'person')} {were} to be forgotten. {done} "
        f"Both versions{beside} were then attacked, with {_count(held.n_matched, 'held-out record')} of the same "
        "classes for comparison, which no model ever saw."
    )


def attacks(report: AuditReport) -> Table:
    """One line per signal."""
    kind = "Reference" if report.references.k else "Assumed"
    rows = (
        (
            signal_name(r.signal).capitalize(),
            f"{r.auc_original:.3f} ({_dash(r.auc_original_ci95)})",
            f"{r.auc:.3f} ({_dash(r.auc_ci95)})",
            f"{r.auc_reference:.3f}" + (f" ({_dash(r.auc_reference_ci95)})" if r.auc_reference_ci95 else ""),
            f"{_signed(r.diff_vs_reference)} ({_dash(r.diff_ci90, signed=True)})",
            f"{r.p_value_adjusted:.4f}",
        )
        for r in report.results
    )
    head = ("Signal", "Before (95 %)", "After (95 %)", f"{kind} (95 %)" if kind == "Reference" else kind)
    return Table("Attack AUC, forget against held-out records", (*head, "Difference (90 %)", "p"), tuple(rows))


def accuracies(report: AuditReport) -> Table:
    """One line per set of rows."""
    sets = {
        "Retained": report.utility.retain,
        "Forgotten": report.utility.forget,
        "Held-out": report.utility.holdout,
    }
    rows = tuple(_accuracy(name, of) for name, of in sets.items() if of is not None)
    baseline = "the reference" if report.utility.baseline == "reference" else "the model before"
    head = ("Records", "n", "Before (95 %)", "After (95 %)", "Reference (95 %)", "After less baseline (90 %)")
    return Table(f"Accuracy; the baseline is {baseline}", head, rows)


def checks(report: AuditReport) -> Table:
    """Can the audit be trusted, and what could it see?"""
    return Table("Checks of the audit itself", ("Check", "Outcome", "What it means"), tuple(_checks(report)))


def plan(report: AuditReport) -> Table:
    """What was fixed before scoring."""
    p = report.plan
    rows = (
        ("Margin for the AUC", f"±{p.margin:g}"),
        ("Margin for accuracy on held-out rows", f"{p.utility_margin:g}"),
        ("Margin for accuracy on retained rows", f"{p.retain_margin:g}"),
        ("Level of the alarm", f"{p.alpha:g}"),
        ("Planned power", f"{p.power:g}"),
        ("Bootstrap draws, permutations", f"{p.bootstrap:,}, {p.permutations:,}"),
        ("Seed", str(p.seed)),
        ("SHA-256 of the plan", report.plan_sha256),
    )
    return Table("The plan, hashed before anything was scored", ("Setting", "Value"), rows)


def basis(report: AuditReport) -> str:
    """On what the comparison rests."""
    if report.null_basis == "paired_reference":
        return (
            "Differences are paired: the same drawn persons for every model. They hold for these models; how much "
            "retrained models differ among each other is only seen with several of them."
        )
    return (
        "No retrained model was at hand. The comparison assumes that, without a leak, the forgotten records look to "
        "the model like held-out records of the same classes. This need not hold if they were not chosen at random."
    )


def _checks(report: AuditReport) -> list[tuple[str, str, str]]:
    null, positive, oracle = report.controls.null, report.controls.positive, report.controls.oracle
    rows: list[tuple[str, str, str]] = []
    if null:
        rows.append(("Null control", _passed(null.passed), f"held-out against held-out: p = {null.p:.3f}"))
    if positive:
        seen = f"the model before shows an AUC of {span(positive.ci95)}; more than {positive.needed:.3f} is needed"
        rows.append(("Positive control", _passed(positive.passed), seen))
    if oracle:
        seen = "retrained models that pass the same audit"
        rows.append(("Oracle control", f"{oracle.n_passed} of {oracle.n_total}", seen))
    rows.append(("Utility guard", _passed(report.utility.guard == "pass"), "no accuracy fell by more than its margin"))
    if report.power:
        seen = f"smallest AUC found with {100 * report.plan.power:.0f} % power at level {report.plan.alpha:g}"
        rows.append(("Sensitivity", f"{report.power.min_detectable_auc:.3f}", seen))
        planned = f"{100 * report.power.planned_power_at_margin:.0f} %"
        rows.append(("Power for the margin", planned, "chance to show equivalence if nothing leaks"))
    return rows


def _accuracy(name: str, of: Accuracy) -> tuple[str, ...]:
    reference = "–"
    if of.reference is not None and of.reference_ci95 is not None:
        reference = f"{of.reference:.3f} ({_dash(of.reference_ci95)})"
    return (
        name,
        f"{of.n:,}",
        f"{of.before:.3f} ({_dash(of.before_ci95)})",
        f"{of.after:.3f} ({_dash(of.after_ci95)})",
        reference,
        f"{_signed(of.gap)} ({_dash(of.gap_ci90, signed=True)})",
    )


def _passed(yes: object) -> str:
    return "passed" if yes else "failed"


def _count(n: int, noun: str) -> str:
    return f"{n:,} {noun}{'' if n == 1 else 's'}"


def _dash(interval: Sequence[float], *, signed: bool = False) -> str:
    low, high = interval
    return f"{_signed(low)} to {_signed(high)}" if signed else f"{low:.3f}–{high:.3f}"


def _signed(value: float) -> str:
    return f"{value:+.3f}".replace("-", "−")
