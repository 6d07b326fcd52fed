"""The relative test: which is nearer, and what it may claim."""

import numpy as np
import pytest

from service.domain.policy import AuditPlan
from service.domain.recipes import Population, Reference
from tests.worker.audit_sides import case, labels, of_odds
from worker.attacks.reference import reference, sign_flip

RUNG = Reference(population=100)
PLAN = AuditPlan(rungs=(Population(), RUNG), permutations=1_999)


def made(after, n=300, k=4, seed=0, groups=None):
    """The original knows the forget rows by 3; the new model lies at `after`, 0 being where retrained ones lie."""
    rng = np.random.default_rng(seed)
    y, hard = labels(n, rng), rng.normal(size=n)
    lift = np.array([3.0, after, *np.zeros(k)])
    forget = of_odds(hard + lift[:, None] + 0.5 * rng.normal(size=(k + 2, n)), y, groups)
    never = of_odds(rng.normal(size=(k + 2, 200)), labels(200, rng))
    return case(forget, never, never, never, PLAN)


def test_a_retrained_model_is_nearer_to_retrained_ones():
    found = reference(made(0.0), RUNG).relative_test

    assert found.statistic > 2
    assert found.p_value == pytest.approx(1 / 2_000)
    assert found.ci95[0] > 2
    assert all(abs(each - found.statistic) < 0.3 for each in found.statistic_references)
    assert found.d_to_retrained == pytest.approx(found.d_between_retrained, abs=0.1)


def test_doing_nothing_is_nearer_to_the_original():
    found = reference(made(3.0), RUNG).relative_test

    assert found.statistic < -2
    assert found.p_value > 0.999


def test_half_way_is_not_nearer_to_the_retrained():
    """At equal distance p-values are spread over (0, 1): few are small."""
    p = np.array([reference(made(1.5, n=60, seed=s), RUNG).relative_test.p_value for s in range(100)])

    assert (p <= 0.05).sum() <= 12       # binomial, 99.5 % bound
    assert (p <= 0.5).sum() in range(35, 66)


def test_over_forgetting_is_seen_in_the_distance_to_the_retrained():
    found = reference(made(-6.0), RUNG).relative_test

    assert found.statistic > 2
    assert found.d_to_retrained > 8 * found.d_between_retrained


def test_the_numbers_are_those_of_a_loop():
    n = 40
    of = made(1.0, n=n)
    phi = np.array([z[np.arange(n), of.forget.y] - z[np.arange(n), 1 - of.forget.y] for z in of.forget.logits])
    total = 0.0
    for i in range(n):
        total += abs(phi[1, i] - phi[0, i]) - sum(abs(phi[1, i] - phi[j, i]) for j in range(2, 6)) / 4
    first = np.mean([
        abs(phi[2, i] - phi[0, i]) - sum(abs(phi[2, i] - phi[j, i]) for j in (3, 4, 5)) / 3 for i in range(n)
    ])

    found = reference(of, RUNG).relative_test

    assert found.statistic == pytest.approx(total / n, abs=1e-6)
    assert found.statistic_references[0] == pytest.approx(first, abs=1e-6)


def test_a_single_person_proves_nothing():
    found = reference(made(0.0, groups=np.zeros(300, int)), RUNG).relative_test

    assert found.ci95 is None
    assert found.p_value > 0.4


def test_a_persons_rows_flip_together():
    values = np.full(40, 1.0)

    assert sign_flip(values, np.arange(40) // 20, 999, np.random.default_rng(0)) > 0.15
    assert sign_flip(values, np.arange(40), 999, np.random.default_rng(0)) == pytest.approx(1 / 1_000)


def test_no_difference_is_no_evidence():
    assert sign_flip(np.zeros(30), np.arange(30), 99, np.random.default_rng(0)) == 1
