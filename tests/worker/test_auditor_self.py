"""What an auditor must pass before its verdicts mean anything. Those of ε and of U-LiRA are with their code.

Bounds on counts are at least 99.5 % of the binomial, so that a sound auditor seldom fails.
"""

from itertools import product
from math import exp, log

import numpy as np
import pytest
import torch

from service.domain.recipes import AdamW, Mlp, Spec, Training, Vector
from tests.worker.audit_cases import QUICK, Cases, Table
from worker.auditing import AuditSets, audit
from worker.data import Rows
from worker.nulls import permutation_test, sign_flip_test
from worker.report import to_json
from worker.resampling import pool
from worker.signals import modified_entropy
from worker.statistics import influence, matched_auc
from worker.training import train

SMALL = QUICK.model_copy(update={"alpha": 0.05, "permutations": 199, "bootstrap": 99})


def labels(rng, n=30, m=60):
    """Three classes, of which each is on both sides."""
    y = rng.integers(0, 3, n + m)
    y[[0, 1, 2, n, n + 1, n + 2]] = [0, 1, 2, 0, 1, 2]
    return y[:n], y[n:]


def paired_p(rng, *, chosen, leak=0.0, k=3):
    """p of the largest of three signals beside k references, on rows of which the forgotten ones may be easier."""
    of = pool(labels(rng, 40, 80), (None, None))
    hard = rng.normal(size=120) + of.y + chosen * (np.arange(120) < 40)
    models = hard + 0.7 * rng.normal(size=(1 + k, 120))
    models[0, :40] += leak
    scores = np.stack([models, -np.exp(-models), models + rng.normal(size=models.shape)], axis=1)
    aucs, moves = (np.array([[f(s, of) for s in model] for model in scores]) for f in (matched_auc, influence))
    gaps, paired = aucs[0] - aucs[1:].mean(axis=0), moves[0] - moves[1:].mean(axis=0)
    return sign_flip_test(gaps, paired, of.strata, 1_199, rng).p_max


def test_1_a_thousand_models_without_a_leak_alarm_as_seldom_as_promised():
    rng, p = np.random.default_rng(0), []

    for _ in range(1_000):
        of = pool(labels(rng), (None, None))
        base = rng.normal(size=90) + of.y
        scores = np.stack([base, base + rng.normal(size=90), rng.normal(size=90), -base])
        p.append(permutation_test(scores, of, 1_199, rng).p_max)

    assert 25 <= sum(np.array(p) < 0.05) <= 70
    assert sum(np.array(p) < 0.001) <= 4


@pytest.mark.parametrize("chosen", [0.0, 1.5])
def test_1_beside_references_too_whether_the_rows_were_chosen_by_chance_or_by_a_user(chosen):
    rng = np.random.default_rng(1)

    p = np.array([paired_p(rng, chosen=chosen) for _ in range(1_000)])

    assert 25 <= sum(p < 0.05) <= 70
    assert sum(p < 0.001) <= 4


def test_1_and_a_leak_beside_references_is_seen():
    rng = np.random.default_rng(2)

    p = np.array([paired_p(rng, chosen=1.5, leak=1.0) for _ in range(40)])

    assert sum(p < 0.05) >= 32


def test_3_a_network_that_learnt_random_labels_by_heart_is_found_out():
    rng = torch.Generator().manual_seed(0)
    x, y = torch.randn(400, 8, generator=rng), torch.randint(0, 2, (400,), generator=rng)
    forget, holdout, retain = (Rows(x[a:b], y[a:b]) for a, b in ((0, 60), (60, 260), (260, 400)))
    training = Training(epochs=100, optimizer=AdamW(lr=1e-2))
    spec = Spec(family=Mlp(hidden=(64,)), training=training, input=Vector(features=8), classes=2)
    everything = Rows(torch.cat([forget.x, retain.x]), torch.cat([forget.y, retain.y]))
    before, retrained = train(spec, everything), train(spec, retain)

    nothing = audit(before, before, AuditSets(forget, holdout, retain), QUICK)
    anew = audit(before, retrained, AuditSets(forget, holdout, retain), QUICK)

    assert nothing.verdict.value == "LEAK_DETECTED"
    assert anew.verdict.value != "LEAK_DETECTED"


@pytest.mark.slow
@pytest.mark.parametrize("k", [0, 2])
def test_4_a_held_out_retrained_model_seldom_leaks(k):
    verdicts = []

    for seed in range(60):
        cases = Cases(n=60, m=150, r=20, seed=seed)
        references = [cases.model() for _ in range(k)]
        report = audit(cases.model(2.0), cases.model(), cases.sets, SMALL, references=references)
        verdicts.append(report.verdict.value)

    assert verdicts.count("LEAK_DETECTED") <= 9     # 99.9 % of Binomial(60, .05)


def test_5_doing_nothing_is_never_equivalent():
    for seed, known in product(range(6), (0.0, 0.1, 0.2, 0.3, 1.0)):
        cases = Cases(n=800, m=1_000, r=50, seed=seed)
        before = cases.model(known)

        verdict = audit(before, before, cases.sets, SMALL).verdict

        assert verdict.value == "LEAK_DETECTED" or verdict.reason_code == "no_power"


def test_6_a_constant_answer_breaks_the_utility_guard():
    cases = Cases()

    report = audit(cases.model(2.0), Table(torch.zeros(cases.total, 2)), cases.sets, QUICK)

    assert report.utility.guard == "fail"
    assert (report.verdict.value, report.verdict.reason_code) == ("INCONCLUSIVE", "utility")


def test_7_modified_entropy_is_the_published_sum_and_knows_the_labels():
    rng = np.random.default_rng(3)
    logits, y = rng.normal(size=(50, 4)) * 2, rng.integers(0, 4, 50)
    expected = []
    for row, label in zip(logits, y, strict=True):
        p = [exp(z) / sum(map(exp, row)) for z in row]
        others = sum(p[i] * log(1 - p[i]) for i in range(4) if i != label)
        expected.append(-(1 - p[label]) * log(p[label]) - others)

    permuted = modified_entropy(logits, rng.permutation(y))

    assert modified_entropy(logits, y) == pytest.approx(expected)
    assert np.abs(permuted - expected).max() > 1


def test_8_over_forgetting_is_a_leak():
    cases = Cases()

    report = audit(cases.model(2.0), cases.model(-8.0), cases.sets, QUICK)

    assert report.verdict.value == "LEAK_DETECTED"
    assert report.headline.auc_after < 0.05
    assert "know" in report.verdict.statement


def test_9_the_same_plan_gives_the_same_bytes_and_another_seed_others():
    cases = Cases(n=100)
    before, after = cases.model(2.0), cases.model()

    first, again = (to_json(audit(before, after, cases.sets, QUICK)) for _ in range(2))
    other = to_json(audit(before, after, cases.sets, QUICK.model_copy(update={"seed": 1})))

    assert first == again
    assert first != other


@pytest.mark.parametrize("n", [1, 2, 5, 10])
def test_10_a_few_rows_are_never_enough_for_equivalence(n):
    cases = Cases(n=n)

    report = audit(cases.model(4.0), cases.model(), cases.sets, QUICK)

    assert report.verdict.value == "INCONCLUSIVE"
    assert report.verdict.reason_code in {"no_power", "underpowered"}
    assert report.verdict.next_rung is not None
