"""The first page: for a person who is no statistician."""

from collections.abc import Callable
from typing import Final

from service.domain.report import AuditReport, Reason, VerdictValue
from worker.story.numbers import capital, count

TITLES: Final[dict[VerdictValue, str]] = {
    "EQUIVALENT_WITHIN_MARGIN": "No difference beyond the margin",
    "LEAK_DETECTED": "Leak detected",
    "INCONCLUSIVE": "Inconclusive",
}
IN_A_SENTENCE: Final[dict[Reason, str]] = {
    "leak": "The new model still treats the forgotten records unlike records it never saw.",
    "within_margin": (
        "Within a small margin fixed beforehand, our attacks could not tell the forgotten records from records that "
        "the new model never saw."
    ),
    "no_power": (
        "Our attacks cannot recognise these records even in the old model, so they can say nothing about the new one."
    ),
    "underpowered": "Our attacks found no leak, but these data are too few to show that there is none.",
    "utility": "Our attacks found no leak, but the new model may have lost too much of its use.",
    "invalid": "The audit failed its own control, so nothing can be concluded from it.",
    "unmatched": "Some forgotten records have no held-out records to be compared with, so nothing can be concluded.",
    "too_few_holdout": "There are too few held-out records to compare with, so nothing can be concluded.",
}
QUESTION: Final = "Does the new model still know what it was asked to forget?"
HOW_TO_READ: Final = (
    "An attacker is shown two records, one that was to be forgotten and one that no model ever saw, and has to say "
    "which is which. The AUC is the share of such pairs it gets right: 0.5 is guessing, 1 is always right, and far "
    "below 0.5 is as telling as far above. Before the deletion it should be high, or there was nothing to see."
)


def asked(report: AuditReport) -> str:
    """What was to be forgotten, and by what."""
    forget = report.forget_set
    persons = f" of {count(forget.n_groups, 'person')}" if forget.n_groups < forget.n or forget.n == 1 else ""
    were = "was" if forget.n == 1 else "were"
    return f"{count(forget.n, 'record')}{persons} {were} to be forgotten. {_made(report)}"


def done(report: AuditReport) -> tuple[str, ...]:
    """How it was checked, rung by rung."""
    skipped = {each.rung for each in report.skipped}
    told = [WORDS[rung.name](report) for rung in report.plan.rungs if rung.name not in skipped]
    stopped = [f"Not possible here – {_name(each.rung)}: {each.reason}." for each in report.skipped]
    return (*told, *stopped)


def glance(report: AuditReport) -> str:
    """The headline, in pairs out of a hundred; empty where nothing could be compared."""
    seen = report.headline
    if seen.auc_before is None or seen.auc_after is None:
        return ""
    beside = ""
    if report.references.k and seen.auc_reference is not None:
        beside = f", and {_pairs(seen.auc_reference)} with a model that never saw them"
    return (
        f"Of 100 pairs the attacker gets {_pairs(seen.auc_before)} right with the old model and "
        f"{_pairs(seen.auc_after)} with the new one{beside}; guessing gets 50."
    )


def following(report: AuditReport) -> str:
    """What would decide an audit that could not; empty where there is nothing to decide."""
    rung = report.verdict.next_rung
    if rung is None:
        return ""
    cost = [f"{count(rung.trainings, 'training')} of the model anew"] if rung.trainings else []
    if rung.forget_units:
        cost.append(f"{count(rung.forget_units, 'person')} or records to be forgotten together")
    sentence = capital(rung.decides.rstrip(".")) + "."
    return f"{sentence} It would take {' or '.join(cost)}." if cost else sentence


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


def _made(report: AuditReport) -> str:
    by = report.subject.algorithm
    if report.claim == "exact":
        return "A new version of the model was trained from scratch without them."
    if by is None:
        return "A new version of the model was brought to us; by what method it was made is not known here."
    return (
        f"A new version of the model was made by the unlearning method “{by}”, which approximates training without "
        "them."
    )


def _population(report: AuditReport) -> str:
    if not report.results:
        return "The attacks that were planned had nothing to compare the forgotten records with."
    held = count(report.heldout.n_matched, "held-out record")
    signals = count(len(report.plan.signals), "signal")
    return (
        f"Attackers who see a model's answers tried to tell the forgotten records from {held} of the same classes, "
        f"which no model ever saw: with {signals}, on the old model and the new."
    )


def _relearning(_: AuditReport) -> str:
    return "The new model was trained a little further on retained records alone: do the forgotten ones come back?"


def _reference(report: AuditReport) -> str:
    return (
        f"{count(report.references.k, 'model')} retrained without the records served as a yardstick: what does a model "
        "answer that never saw them?"
    )


def _distance(_: AuditReport) -> str:
    return "How far the new model is from retrained ones was measured, beside how far these are from each other."


def _routing(_: AuditReport) -> str:
    return "For a forgotten class: does the new model send its records where retrained models send them?"


def _planted(_: AuditReport) -> str:
    return "Test records planted before training were guessed, which bounds from below what the model reveals."


WORDS: Final[dict[str, Callable[[AuditReport], str]]] = {
    "population": _population,
    "relearning": _relearning,
    "reference": _reference,
    "oracle_distance": _distance,
    "mia_nn": _routing,
    "one_run": _planted,
}
NAMES: Final = {
    "population": "attacks on answers", "relearning": "relearning", "reference": "retrained models as yardstick",
    "oracle_distance": "distance to retrained models", "mia_nn": "class routing", "one_run": "planted records",
}


def _name(rung: str) -> str:
    return NAMES.get(rung, rung)


def _pairs(auc: float) -> str:
    return f"{100 * auc:.0f}"
