"""Rung 1 in tables and figures: each signal's attack, the losses, the ROC, and parts of the forgotten records."""

from service.domain.report import AuditReport, Person, Persons, Result, Stratum, TprAt
from worker import figures
from worker.story.blocks import Plot, Section, Table
from worker.story.numbers import capital, chance, count, percent, three, within, within_signed
from worker.wording import signal_name

INTERVALS = "Attack AUC of each signal with its 95 % interval; the dotted line at 0.5 is guessing."
HISTOGRAMS = (
    "Losses of forgotten and held-out records, before and after; after the deletion the two should look alike. "
    "Held-out records are weighted to the forgotten ones' classes."
)
ROC = (
    "Share of forgotten records found (TPR) against the share of held-out records wrongly taken for them (FPR), by "
    "the signal {signal}, on logarithmic axes: what counts is the left end, where an attacker makes few mistakes. The "
    "band is a pointwise 95 % interval of the new model; the dotted line is guessing."
)

TESTS = {
    "permutation": (
        "The largest distance of an AUC from 0.5 over all signals is {value}. If forgotten and held-out records of a "
        "class were exchangeable, a distance as large would occur with probability {p}."
    ),
    "sign_flip": (
        "The largest distance of the new model's AUC from the retrained models', over all signals and on the same "
        "records, is {value}. For these models, if there were none, a larger one would occur with probability {p}."
    ),
}
COMPARED = {
    "same_labels": "persons with the same labels", "same_number_of_rows": "persons with as many records",
    "all": "all persons: p is not exact",
}


def attacks(report: AuditReport) -> Section:
    """One line per signal."""
    if not report.results:
        return Section("What an attacker sees")
    drawn = Plot("Attack AUC of each signal", INTERVALS, lambda: figures.intervals(report))
    return Section("What an attacker sees", _most(report), (_aucs(report), drawn, _decisions(report)))


def losses(report: AuditReport) -> Section:
    """The histograms, and the ROC of the headline."""
    parts: list[Plot] = []
    if (histogram := report.loss_histogram) is not None:
        parts.append(Plot("Histograms of the loss", HISTOGRAMS, lambda: figures.histograms(histogram)))
    if (roc := report.roc) is not None:
        caption = ROC.format(signal=signal_name(roc.signal))
        parts.append(Plot("ROC curves", caption, lambda: figures.roc(roc)))
    return Section("Forgotten beside held-out records", (), tuple(parts))


def strata(report: AuditReport) -> Section:
    """Classes, and those that the old model knew best."""
    if not report.strata:
        return Section("Parts of the forgotten records")
    head = ("Part", "n", "Held-out n", "AUC before", "AUC after (95 %)", "Retrained", "Acc. forgotten",
            "Acc. held-out")
    rows = tuple(_stratum(each) for each in report.strata)
    words = "The headline signal on parts of the forgotten records. Accuracies are the new model's."
    table = Table("Classes, and records that the old model knew best", head, rows, (34, 14, 18, 18, 34, 18, 20, 18))
    return Section("Parts of the forgotten records", (words,), (table,))


def persons(report: AuditReport) -> Section:
    """Those that stand out most, by rank."""
    found = report.persons
    if found is None:
        return Section("Single persons")
    head = ("Rank", "Records", "p before", "p after", "p after, Holm", "Compared with held-out")
    table = Table("The persons that stand out most in the new model", head, tuple(map(_person, found.shown)),
                  (14, 18, 24, 24, 28, 66))
    return Section("Single persons", (_tested(found),), (table,) if found.shown else ())


def _most(report: AuditReport) -> tuple[str, ...]:
    most = report.max_statistic
    if most is None:
        return ()
    return (TESTS[most.test].format(value=three(most.value), p=chance(most.p_value)),)


def _aucs(report: AuditReport) -> Table:
    kind = "Retrained (95 %)" if report.references.k else "Assumed"
    head = ("Signal", "Before (95 %)", "After (95 %)", kind, "Difference (90 %)", "p")
    rows = tuple(
        (
            capital(signal_name(r.signal)),
            within(r.auc_original, r.auc_original_ci95),
            within(r.auc, r.auc_ci95),
            within(r.auc_reference, r.auc_reference_ci95),
            within_signed(r.diff_vs_reference, r.diff_ci90),
            chance(r.p_value_adjusted),
        )
        for r in report.results
    )
    return Table("Attack AUC, forgotten against held-out records", head, rows, (26, 29, 29, 29, 44, 13))


def _decisions(report: AuditReport) -> Table:
    rates = report.results[0].tpr_at
    head = ("Signal", "Finding", "p of equivalence", "Balanced accuracy",
            *(f"TPR at {percent(each.fpr)} FPR" for each in rates))
    rows = tuple(
        (
            capital(signal_name(r.signal)),
            _finding(r),
            chance(r.tost_p),
            three(r.balanced_accuracy),
            *(_found(each) for each in r.tpr_at),
        )
        for r in report.results
    )
    return Table("What each signal says by itself", head, rows, (27, 32, 24, 24, *(32 for _ in rates)))


def _finding(r: Result) -> str:
    if r.flagged:
        return "alarm"
    return "inside the margin" if r.equivalent else "not decided"


def _found(at: TprAt) -> str:
    return within(at.value, at.ci95) if at.estimable else "too few held-out"


def _stratum(part: Stratum) -> tuple[str, ...]:
    return (
        part_name(part.name),
        f"{part.n_member:,}",
        f"{part.n_nonmember:,}",
        three(part.auc_original),
        within(part.auc, part.auc_ci95),
        three(part.auc_reference),
        three(part.forget_accuracy),
        three(part.heldout_accuracy),
    )


def part_name(name: str) -> str:
    """`class:3` and `memorised:top_decile` as a reader says it."""
    kind, _, which = name.partition(":")
    if kind == "memorised":
        return "Best memorised tenth" if which == "top_decile" else f"Best memorised, {which.replace('_', ' ')}"
    return f"{kind.capitalize()} {which.replace('_', ' ')}".strip()


def _tested(found: Persons) -> str:
    stand_out = "None stands out" if not found.n_significant_holm else (
        f"{count(found.n_significant_holm, 'person')} stand{'s' if found.n_significant_holm == 1 else ''} out"
    )
    return (
        f"{count(found.n_tested, 'person')} {'was' if found.n_tested == 1 else 'were'} compared with held-out persons "
        f"one by one. {stand_out} in the new model once the number of tests is paid for (Holm). The smallest p that a "
        f"person could have here is {chance(found.smallest_possible_p)}."
    )


def _person(of: Person) -> tuple[str, ...]:
    chances = map(chance, (of.p_before, of.p_after, of.p_holm))
    return (str(of.rank), f"{of.n_rows:,}", *chances, COMPARED[of.compared_with])
