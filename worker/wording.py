"""The verdict in plain words, with the numbers that carry it."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from service.domain.policy import AuditPlan
from service.domain.report import Found, Heldout, Power, Reason, References, Result, Utility


@dataclass(frozen=True)
class Case:
    """What a sentence may speak of; the numbers of the attack are there."""

    plan: AuditPlan
    results: tuple[Result, ...]
    seen: str           # what the positive control saw
    power: Power
    useful: Utility
    reference: str


def statement(
    reason: Reason, plan: AuditPlan, found: Found, facts: Heldout, *, useful: Utility, references: References
) -> str:
    """A few sentences for people who are no statisticians."""
    if reason == "unmatched" or found.power is None:
        return _void(facts)
    case = Case(plan, found.results, _seen(found), found.power, useful, reference_name(references))
    return SENTENCES[reason](case).replace(" %", "\N{NO-BREAK SPACE}%")


def _void(facts: Heldout) -> str:
    why = f"only {facts.n_groups_matched} held-out persons or rows have the forgotten ones' classes, which is too few"
    if facts.forget_rows_unmatched:
        why = (
            f"{facts.forget_rows_unmatched} of the forgotten rows belong to classes of which no held-out row exists, "
            "so there is nothing to compare them with"
        )
    return f"The audit could not be made: {why}. It says nothing about deletion."


def _invalid(_: Case) -> str:
    return (
        "The audit is void: its null control failed, the attack claims to tell rows that no model saw from others "
        "that no model saw. It says nothing about deletion."
    )


def _no_power(case: Case) -> str:
    if case.power.forget_units < 2:
        return (
            "The records of a single person are too few for this attack: even in the original model it cannot tell "
            f"memory from chance, so it says nothing about deletion. {_sensitivity(case)}"
        )
    return (
        f"This attack cannot see these records in the original model either ({case.seen}); it says nothing about "
        f"deletion. {_sensitivity(case)}"
    )


def _leak(case: Case) -> str:
    worst = max((r for r in case.results if r.flagged), key=lambda r: abs(r.diff_vs_reference))
    how = "an attacker can still tell the forgotten rows from rows the model never saw"
    if worst.diff_vs_reference < 0:
        how = "the forgotten rows stand out, because the new model knows them less than rows it never saw"
    return (
        f"We found evidence of a leak: {how}. With the signal {signal_name(worst.signal)} the attack's AUC is "
        f"{worst.auc:.3f} (95 % interval {span(worst.auc_ci95)}) against {worst.auc_reference:.3f} for "
        f"{case.reference}; p = {worst.p_value_adjusted:.4f}, at a level of {case.plan.alpha:g} chosen before scoring."
    )


def _equivalent(case: Case) -> str:
    return (
        f"We did not find evidence of a leak. For {_signals(case)} the attack's AUC on the new model differs from "
        f"that of {case.reference} by less than the margin of {case.plan.margin:g} ({_widest(case)}), and accuracy "
        f"fell by less than {case.plan.utility_margin:g} on held-out and {case.plan.retain_margin:g} on retained rows; "
        f"all margins were chosen before scoring. {_sensitivity(case)}"
    )


def _underpowered(case: Case) -> str:
    return (
        "We did not find evidence of a leak, but that is no evidence that there is none: these data do not show "
        f"that the attack's AUC lies within {case.plan.margin:g} of that of {case.reference} ({_widest(case)}). "
        f"{_missing(case)} "
        f"{_sensitivity(case)}"
    )


def _utility(case: Case) -> str:
    watched = {"retained": case.useful.retain, "held-out": case.useful.holdout}
    gaps = [f"{a.gap:+.3f} on {name} rows (90 % interval {span(a.gap_ci90)})" for name, a in watched.items() if a]
    return (
        f"We did not find evidence of a leak, and the attack's AUC lies within {case.plan.margin:g} of that of "
        f"{case.reference}. But it is not shown that the model stayed useful: accuracy changed by "
        f"{' and '.join(gaps)}, where drops of {case.plan.retain_margin:g} and {case.plan.utility_margin:g} were "
        "allowed. "
        "A model that knows nothing leaks nothing."
    )


SENTENCES: Final[dict[Reason, Callable[[Case], str]]] = {
    "invalid": _invalid,
    "leak": _leak,
    "no_power": _no_power,
    "within_margin": _equivalent,
    "underpowered": _underpowered,
    "utility": _utility,
}


def _missing(case: Case) -> str:
    planned, wanted = (_percent(p) for p in (case.power.planned_power_at_margin, case.plan.power))
    if case.power.planned_power_at_margin >= case.plan.power:
        return f"The numbers were large enough (planned power {planned}), so a small difference may be real."
    if case.power.forget_units_needed is None:
        return f"Planned power {planned}; beside so few held-out rows no number of forgotten rows gives {wanted}."
    return f"Planned power {planned}; for {wanted}, about {case.power.forget_units_needed} to forget would be needed."


def _sensitivity(case: Case) -> str:
    n, auc = case.power.forget_units, case.power.min_detectable_auc
    if auc >= 1:
        return f"With {n:.0f} to forget (a person counts once) the test could not have found any leak at its level."
    return (
        f"With {n:.0f} to forget and {case.power.holdout_units:.0f} held out (a person counts once), the test had "
        f"{_percent(case.plan.power)} power to find an AUC of {auc:.3f} or more; a smaller leak would go unnoticed."
    )


def _seen(found: Found) -> str:
    seen = found.controls.positive
    if seen is None:
        return "nothing was measured"
    return f"AUC {seen.auc:.3f}, 95 % interval {span(seen.ci95)}; the lower end had to exceed {seen.needed:.3f}"


def reference_name(references: References) -> str:
    """What the new model is compared with, to be put into a sentence."""
    if not references.k:
        return "an ideal model (taken to be 0.5)"
    return "one retrained model" if references.k == 1 else f"an average retrained model (of {references.k})"


def _widest(case: Case) -> str:
    worst = max(case.results, key=lambda r: max(map(abs, r.diff_ci90)))
    name = signal_name(worst.signal)
    return f"largest for the {name}: {worst.diff_vs_reference:+.3f}, 90 % interval {span(worst.diff_ci90)}"


def _signals(case: Case) -> str:
    return "the one signal" if len(case.results) == 1 else f"each of the {len(case.results)} signals"


def _percent(share: float) -> str:
    return f"{100 * share:.0f} %"


def signal_name(signal: str) -> str:
    """As it is written in a sentence."""
    return "RMIA" if signal == "rmia" else signal.replace("_", " ")


def span(interval: tuple[float, float]) -> str:
    """Both ends with three digits."""
    return f"{interval[0]:.3f} to {interval[1]:.3f}"
