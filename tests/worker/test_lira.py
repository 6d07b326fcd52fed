"""LiRA beside a slow second implementation, and on rows that nothing can be told about."""

from math import lgamma, log, pi, sqrt
from statistics import mean, median, variance

import numpy as np
import pytest

from service.errors import BadInput
from worker.lira import fits, inverse_gamma, lira
from worker.metrics import auc


def models(N=12, n=40, shift=0.0, seed=0):
    """φ (N, n) of pairs that were dealt complementary rows; those that had a row lie higher by `shift`."""
    rng = np.random.default_rng(seed)
    first = rng.random((N // 2, n)) < 0.5
    included = np.stack([first, ~first], axis=1).reshape(N, n)
    hard, spread = rng.normal(0, 2, n), rng.gamma(4, 0.25, n)
    return hard + spread * rng.normal(size=(N, n)) + shift * included, included, np.arange(N) // 2


def gauss(x, place, sd):
    return -0.5 * log(2 * pi) - log(sd) - (x - place) ** 2 / (2 * sd**2)


def student(x, place, scale, nu):
    z = (x - place) / scale
    constant = lgamma((nu + 1) / 2) - lgamma(nu / 2) - 0.5 * log(nu * pi) - log(scale)
    return constant - (nu + 1) / 2 * log(1 + z * z / nu)


def sides(phi, included, fold, i, x):
    """φ of row x under the models of other folds: those that had it, and those that had not."""
    others = [j for j in range(len(phi)) if fold[j] != fold[i]]
    return [phi[j, x] for j in others if included[j, x]], [phi[j, x] for j in others if not included[j, x]]


def naive(phi, included, fold, likelihood):
    """Row by row, model by model."""
    return [
        [
            likelihood(phi[i, x], *sides(phi, included, fold, i, x), (phi, included, fold, i))
            for x in range(phi.shape[1])
        ]
        for i in range(len(phi))
    ]


def per_example(x, inside, outside, _all, centre=mean):
    def log_p(side):
        return gauss(x, centre(side), max(sqrt(variance(side)), 1e-2))

    return log_p(inside) - log_p(outside)


def fixed(x, inside, outside, everything):
    phi, included, fold, i = everything
    rows = [sides(phi, included, fold, i, r) for r in range(phi.shape[1])]

    def log_p(side, which):
        squares = sum((v - mean(row[which])) ** 2 for row in rows for v in row[which])
        return gauss(x, mean(side), sqrt(squares / sum(len(row[which]) - 1 for row in rows)))

    return log_p(inside, 0) - log_p(outside, 1)


def nig(x, inside, outside, everything):
    """The posterior by one observation after the other."""
    phi, included, fold, i = everything
    rows = [sides(phi, included, fold, i, r) for r in range(phi.shape[1])]

    def log_p(side, which):
        s2 = [variance(row[which]) for row in rows]
        s4 = mean([v**2 / (1 + 2 / (len(row[which]) - 1)) for v, row in zip(s2, rows, strict=True)])
        spread = s4 / mean(s2) ** 2
        a = min(2 + 1 / (spread - 1), 1e4) if spread > 1 else 1e4
        b, m, k = (a - 1) * mean(s2), mean([*inside, *outside]), 1.0
        for v in side:
            b += k * (v - m) ** 2 / (2 * (k + 1))
            m, k, a = (k * m + v) / (k + 1), k + 1, a + 0.5
        return student(x, m, sqrt(b * (k + 1) / (a * k)), 2 * a)

    return log_p(inside, 0) - log_p(outside, 1)


@pytest.mark.parametrize(("kind", "second"), [("per_example", per_example), ("fixed", fixed), ("nig", nig)])
def test_scores_are_those_of_the_slow_way(kind, second):
    phi, included, fold = models(N=10, n=30, shift=1.0)

    assert lira(phi, included, fold=fold, variance=kind) == pytest.approx(
        np.array(naive(phi, included, fold, second)), rel=1e-9
    )


def test_medians_are_the_centres_where_they_are_asked_for():
    phi, included, fold = models(N=10, n=12, shift=1.0)
    second = naive(phi, included, fold, lambda *told: per_example(*told, centre=median))

    assert lira(phi, included, fold=fold, variance="per_example", centre="median") == pytest.approx(np.array(second))


def test_offline_is_the_chance_of_a_smaller_confidence_without_the_row():
    phi, included, fold = models(N=10, n=12)
    scores = lira(phi, included, fold=fold, variance="per_example", mode="offline")
    _, outside = sides(phi, included, fold, 3, 5)
    z = (phi[3, 5] - mean(outside)) / sqrt(variance(outside))

    assert np.exp(scores[3, 5]) == pytest.approx(0.5 * (1 + np.sign(z) * 2 * integral(abs(z))), abs=1e-6)


def integral(z, steps=20_000):
    """Of the normal density from 0 to z, by the trapezoid rule."""
    at = np.linspace(0, z, steps)
    return float(np.trapezoid(np.exp(-(at**2) / 2) / sqrt(2 * pi), at))


def seen(scores, included):
    """AUC, mean over the models."""
    return np.mean([auc(s[had], s[~had]) for s, had in zip(scores, included, strict=True)])


@pytest.mark.parametrize("kind", ["per_example", "fixed", "nig"])
def test_nothing_is_seen_where_there_is_nothing(kind):
    found = []
    for seed in range(20):
        phi, included, fold = models(N=16, n=300, seed=seed)
        found.append(seen(lira(phi, included, fold=fold, variance=kind), included))

    assert np.mean(found) == pytest.approx(0.5, abs=0.005)


def test_scores_of_models_that_are_part_of_the_fit_would_see_something():
    phi, included, _ = models(N=16, n=300)
    inside, outside = fits(phi, included, "per_example")
    scores = inside.log_density(phi) - outside.log_density(phi)

    assert seen(scores, included) > 0.55


@pytest.mark.parametrize("kind", ["per_example", "fixed", "nig"])
def test_a_trace_is_seen(kind):
    phi, included, fold = models(N=32, n=300, shift=2.0)
    scores = lira(phi, included, fold=fold, variance=kind)

    assert seen(scores, included) > 0.85


def test_a_shrunk_variance_sees_more_than_each_row_alone_with_few_models():
    def of(kind):
        cases = [models(N=8, n=300, shift=1.0, seed=seed) for seed in range(10)]
        return np.mean([seen(lira(phi, had, fold=fold, variance=kind), had) for phi, had, fold in cases])

    assert of("nig") > of("per_example") + 0.01


def test_the_prior_is_found_from_variances_that_were_drawn_from_it():
    rng = np.random.default_rng(0)
    variances = 6.0 / rng.gamma(4.0, size=200_000)              # IG(4, 6)
    samples = variances * rng.chisquare(9, 200_000) / 9

    assert inverse_gamma(samples, np.full(200_000, 9.0)) == pytest.approx((4.0, 6.0), rel=0.1)


def test_equal_variances_make_a_stiff_prior():
    assert inverse_gamma(np.full(50, 2.0), np.full(50, 5.0)) == pytest.approx((1e4, 2.0 * (1e4 - 1)))


def test_a_row_that_too_few_models_had_is_refused():
    phi, included, fold = models()
    included[:, 3] = False
    included[0, 3] = True

    with pytest.raises(BadInput, match="two models"):
        lira(phi, included, fold=fold)


def test_confidences_that_are_no_numbers_are_refused():
    phi, included, fold = models()
    phi[2, 2] = np.nan

    with pytest.raises(BadInput, match="1 rows"):
        lira(phi, included, fold=fold)
    with pytest.raises(BadInput, match="mask"):
        lira(phi[:, :3], included)
