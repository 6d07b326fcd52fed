"""The rungs that need retrained models, climbed together in one audit."""

from dataclasses import replace

import pytest
import torch

from service.domain.policy import AuditPlan
from service.domain.recipes import ClassRouting, OracleDistance, Population, Reference
from service.errors import BadInput
from tests.worker.audit_cases import Cases
from worker.auditing import audit
from worker.report import to_json

PLAN = AuditPlan(
    rungs=(Population(), Reference(population=300), OracleDistance(), ClassRouting()),
    signals=("loss",),
    alpha=0.005,
    permutations=499,
    bootstrap=400,
)


def made(z=400, k=3):
    """A holdout without z, and z; retrained models."""
    cases = Cases(n=300, m=1_200 + z, r=600)
    both = cases.sets.holdout
    holdout, population = both.take(torch.arange(1_200)), both.take(torch.arange(1_200, 1_200 + z))
    return cases, replace(cases.sets, holdout=holdout, population=population), [cases.model() for _ in range(k)]


@pytest.mark.slow
def test_doing_nothing_is_seen_by_all_of_them():
    cases, sets, references = made()
    before = cases.model(2.0)

    report = audit(before, before, sets, PLAN, references=references)

    assert report.verdict.value == "LEAK_DETECTED"
    assert {found.signal for found in report.results} == {"loss", "calibrated", "rmia"}
    assert all(found.auc > found.auc_reference + 0.1 for found in report.results)
    assert report.relative_test.d_to_original == 0
    assert report.relative_test.p_value > 0.99
    assert report.distances.ks_forget > 5 * report.distances.between_references.ks_forget
    assert report.conventions


@pytest.mark.slow
def test_a_retrained_model_passes_all_of_them():
    cases, sets, references = made()

    report = audit(cases.model(2.0), cases.model(), sets, PLAN, references=references)

    assert report.verdict.value != "LEAK_DETECTED"
    assert report.relative_test.p_value < 0.01
    assert report.distances.ks_forget < report.distances.between_references.ks_forget + 0.05
    assert [each.rung for each in report.skipped] == ["mia_nn"]


@pytest.mark.slow
def test_references_make_the_leak_plainer_than_one_models_loss():
    cases, sets, references = made()
    before = cases.model(1.0)

    found = {each.signal: each for each in audit(before, before, sets, PLAN, references=references).results}

    assert found["calibrated"].auc > found["loss"].auc + 0.1
    assert found["rmia"].auc > found["loss"].auc


@pytest.mark.slow
def test_the_same_plan_and_seed_give_the_same_bytes():
    cases, sets, references = made()
    before, after = cases.model(2.0), cases.model(0.5)

    assert to_json(audit(before, after, sets, PLAN, references=references)) == to_json(
        audit(before, after, sets, PLAN, references=references)
    )


def test_fewer_population_rows_than_it_takes_are_refused():
    cases, sets, references = made(z=60)

    with pytest.raises(BadInput, match="at least 100 population rows"):
        audit(cases.model(2.0), cases.model(), sets, PLAN, references=references)
