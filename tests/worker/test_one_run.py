"""The rung of the canaries: what is guessed from the new model's confidence, and when nothing is."""

import numpy as np
import pytest
import torch

from service.domain.policy import AuditPlan
from service.domain.recipes import OneRun, Population
from tests.worker.audit_cases import Table
from worker.attacks.one_run import one_run
from worker.case import AuditSets, Case
from worker.data import Rows
from worker.epsilon import bound
from worker.optimise import Progress
from worker.sides import Side

PLAN = AuditPlan(rungs=(Population(), OneRun()))


def case(m=1_000, remembered=0.0, canaries=True, seed=0):
    """Canaries whose log-odds under the new model lie higher by `remembered` where they were in."""
    rng = np.random.default_rng(seed)
    coins, phi = rng.random(m) < 0.5, rng.normal(size=m)
    phi = phi + remembered * coins
    y = torch.as_tensor(rng.integers(0, 2, m))
    sign = np.where(y.numpy() == 1, 1, -1)
    after = Table(np.stack([-phi * sign / 2, phi * sign / 2], axis=1))
    rows = Rows(torch.arange(m, dtype=torch.float32)[:, None], y)
    parts = rows.take(torch.as_tensor(coins)), rows.take(torch.as_tensor(~coins))
    sets = AuditSets(rows, rows, rows, canaries=parts if canaries else None)
    nobody = Side(np.zeros(0, np.int64), None, [])
    return Case(PLAN, [Table(np.zeros((m, 2))), after], sets, nobody, nobody, nobody, Progress(1)), coins, phi


def test_the_guesses_are_the_most_and_the_least_confident():
    of, coins, phi = case(remembered=0.8)
    order = np.argsort(phi)
    right = int((~coins[order[:50]]).sum() + coins[order[-50:]].sum())

    found = one_run(of, OneRun()).epsilon

    assert found == bound(1_000, 100, right, alpha=0.05)
    assert 0.5 < found.value < found.ceiling


def test_nothing_is_claimed_where_nothing_is_remembered():
    rung = OneRun(guesses=0.5)
    claims = [one_run(case(m=200, seed=seed)[0], rung).epsilon.value > 0 for seed in range(1_000)]

    assert 0 < sum(claims) <= 70


def test_equal_confidences_do_not_give_the_coins_away():
    of, _, _ = case()
    of.models[1].logits.data.zero_()

    assert one_run(of, OneRun(guesses=0.9)).epsilon.value == 0


def test_delta_and_alpha_are_the_plans():
    found = one_run(case(remembered=2.0)[0], OneRun(alpha=0.01, delta=1e-5, guesses=0.2)).epsilon

    assert (found.alpha, found.delta, found.n, found.n_guesses) == (0.01, 1e-5, 1_000, 200)


@pytest.mark.parametrize("of", [case(canaries=False)[0], case(m=99, remembered=9.0)[0]])
def test_without_canaries_enough_the_rung_is_skipped_with_its_reason(of):
    found = one_run(of, OneRun())

    assert found.epsilon is None
    assert found.skipped[0].rung == "one_run"
    assert "canaries" in found.skipped[0].reason
