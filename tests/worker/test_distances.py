"""Distances to retrained models: published vectors, a second implementation, and their yardstick."""

import numpy as np
import pytest

from service.domain.recipes import OracleDistance
from service.domain.report import Distances
from tests.worker.audit_sides import case, labels, side
from worker.attacks.oracle_distance import fidelity, oracle_distance, r_ua
from worker.conventions.salun import efficacy

CLASSES = 4


def test_r_ua_and_fidelity_of_the_known_vector():
    model, ideal, y = (np.array(v) for v in ([0, 1, 1, 2], [0, 1, 2, 2], [0, 1, 1, 1]))

    assert r_ua(model, ideal, y) == 25
    assert fidelity(model, ideal) == 75


def answers(n, lifts, rng, y=None):
    y = labels(n, rng, CLASSES) if y is None else y
    hard = rng.normal(size=(n, CLASSES))
    z = np.array([hard + 0.3 * rng.normal(size=hard.shape) for _ in lifts])
    z[:, np.arange(n), y] += np.asarray(lifts, float)[:, None]
    return side(list(z), y)


def made(after=1.0, k=3, seed=0, retain=None):
    rng = np.random.default_rng(seed)
    lifts = [5.0, after, *[1.0] * k]
    always, never = [5.0] * (k + 2), [1.0] * (k + 2)
    return case(answers(300, lifts, rng), answers(300, never, rng), answers(400, always, rng, retain))


def found(of):
    return oracle_distance(of, OracleDistance()).distances


def test_a_retrained_model_is_as_far_away_as_they_are_from_each_other():
    own = found(made())

    for name in ("tug_of_war", "tug_of_war_mia", "ks_forget"):
        assert getattr(own, name) == pytest.approx(getattr(own.between_references, name), abs=0.07)
    assert abs(own.r_ua) < 8      # three standard deviations: a fifth of 300 rows changes class by chance
    assert abs(own.fidelity - own.between_references.fidelity) < 8


def test_doing_nothing_is_farther_away_in_every_number():
    own = found(made(after=5.0))
    theirs = own.between_references

    assert own.r_ua > theirs.r_ua + 20
    assert own.average_gap > theirs.average_gap + 15
    for name in ("tug_of_war", "tug_of_war_mia", "fidelity"):
        assert getattr(own, name) < getattr(theirs, name) - 0.2
    assert own.ks_forget > theirs.ks_forget + 0.4


def test_over_forgetting_has_the_other_sign():
    assert found(made(after=-4.0)).r_ua < -20


def test_the_numbers_are_those_of_a_loop():
    of = made(after=2.0, k=2)
    unseen = efficacy(of)

    def shares(m):
        return [
            sum(int(np.argmax(row)) == c for row, c in zip(part.logits[m], part.y, strict=True)) / len(part)
            for part in (of.forget, of.retain, of.holdout)
        ]

    tug, mia, gap = [], [], []
    for j in (2, 3):
        d = [abs(a - b) for a, b in zip(shares(1), shares(j), strict=True)]
        attack = abs(unseen[1] - unseen[j])
        tug.append((1 - d[0]) * (1 - d[1]) * (1 - d[2]))
        mia.append((1 - attack) * (1 - d[1]) * (1 - d[2]))
        gap.append(100 * (sum(d) + attack) / 4)

    own = found(of)

    assert own.tug_of_war == pytest.approx(np.mean(tug), abs=1e-6)
    assert own.tug_of_war_mia == pytest.approx(np.mean(mia), abs=1e-6)
    assert own.average_gap == pytest.approx(np.mean(gap), abs=1e-5)


def test_a_single_reference_has_no_other_to_be_compared_with():
    own = found(made(k=1))

    assert isinstance(own, Distances)
    assert own.between_references is None


def test_without_test_rows_that_are_still_taught_the_rung_is_skipped():
    of = made(retain=np.zeros(400, int))
    rest = of.holdout.take(np.flatnonzero(of.holdout.y != 0))

    skipped = oracle_distance(case(of.forget, rest, of.retain), OracleDistance())

    assert skipped.distances is None
    assert "still taught" in skipped.skipped[0].reason
