"""The decision rule: its order, held by reports from which one thing at a time is taken away."""

import re
from functools import cache

import pytest

from service.domain.report import Found
from tests.worker.audit_cases import QUICK, Cases
from worker.auditing import audit
from worker.verdict import decide, judge

BANNED = re.compile(r"verified deleted|0\.5 means safe|ε|epsilon|TPR", re.IGNORECASE)


@cache
def good():
    """A report that says EQUIVALENT, to be spoilt."""
    cases = Cases()
    return audit(cases.model(2.0), cases.model(), cases.sets, QUICK)


def spoilt(*, flagged=False, null=True, positive=True, equivalent=True, planned=0.9, useful=True, unmatched=0):
    report = good()
    controls = report.controls.model_copy(
        update={
            "null": report.controls.null.model_copy(update={"passed": null}),
            "positive": report.controls.positive.model_copy(update={"passed": positive}),
        }
    )
    results = [r.model_copy(update={"flagged": flagged, "equivalent": equivalent}) for r in report.results]
    power = report.power.model_copy(update={"planned_power_at_margin": planned})
    return {
        "found": Found(results=tuple(results), controls=controls, power=power),
        "facts": report.heldout.model_copy(update={"forget_rows_unmatched": unmatched}),
        "useful": report.utility.model_copy(update={"within_margin": useful}),
    }


@pytest.mark.parametrize(
    ("reason", "change"),
    [
        ("within_margin", {}),
        ("utility", {"useful": False}),
        ("underpowered", {"planned": 0.79}),
        ("underpowered", {"equivalent": False, "useful": False}),
        ("no_power", {"positive": False, "planned": 0.1}),
        ("leak", {"flagged": True}),
        ("leak", {"flagged": True, "positive": False}),
        ("invalid", {"null": False, "flagged": True}),
        ("invalid", {"null": False, "positive": False, "equivalent": False}),
        ("unmatched", {"unmatched": 3, "flagged": True}),
    ],
)
def test_the_first_of_the_rules_in_order_decides(reason, change):
    case = spoilt(**change)

    assert decide(QUICK, **case) == reason


def test_one_signal_outside_the_margin_is_enough_to_withhold_equivalence():
    case = spoilt()
    first, *rest = case["found"].results
    results = (first.model_copy(update={"equivalent": False}), *rest)
    found = case["found"].model_copy(update={"results": results})

    assert decide(QUICK, found, case["facts"], case["useful"]) == "underpowered"


@pytest.mark.parametrize(
    ("reason", "change"),
    [
        ("EQUIVALENT_WITHIN_MARGIN", {}),
        ("LEAK_DETECTED", {"flagged": True}),
        ("INCONCLUSIVE", {"null": False}),
        ("INCONCLUSIVE", {"positive": False}),
        ("INCONCLUSIVE", {"planned": 0.1}),
        ("INCONCLUSIVE", {"useful": False}),
        ("INCONCLUSIVE", {"unmatched": 2}),
    ],
)
def test_every_verdict_is_a_sentence_that_promises_nothing(reason, change):
    verdict = judge(QUICK, **spoilt(**change), references=good().references, claim="approximate")

    assert verdict.value == reason
    assert verdict.statement.endswith(".")
    assert not BANNED.search(verdict.statement)
    assert "None" not in verdict.statement


def test_nothing_to_compare_with_is_inconclusive():
    assert decide(QUICK, Found(), good().heldout, good().utility) == "too_few_holdout"


def test_utility_alone_does_not_make_a_leak():
    assert decide(QUICK, **spoilt(useful=False)) != "leak"
