r"""Low-Cost High-Power Membership Inference Attacks. Zarifzadeh, Liu, Shokri. ICML 2024. arXiv:2312.03262.

    P(x) = (1+a)/2 · P̄_out(x) + (1−a)/2        offline: P_in ≈ a · P_out + (1 − a), and P = (P_in + P_out)/2
    r(x) = p(x) / P(x)                         p: the attacked model's probability of the true class
    s(x) = share of the population rows z with r(x) / r(z) ≥ γ

Conventions that differ between paper and codes: we take ≥ γ, as the paper does; Privacy Meter takes > 1, which on real
scores is the same but for ties. z gets the same correction and the same a as x, as in Privacy Meter. No temperature and
no augmented queries: p is the plain softmax. Scores have steps of one z, so they tie; an AUC counts a tie one half.

A retrained model never saw the forget rows, so k retrained models are k OUT models of every one of them, and none of
them saw the holdout or z. One of them is attacked with the others.
"""

from typing import Final

import numpy as np
from scipy.special import expit, logsumexp

from service.domain.recipes import Reference
from service.errors import BadInput
from worker.case import Case
from worker.sides import Side
from worker.signals import Array, Labels, confidence

LEAST_Z: Final = 100        # of fewer, a score has too few steps to rank rows by
FIRST: Final = 2            # models stand in the order before, after, references


def relative(case: Case, rung: Reference, pooled: list[Array], y: Labels) -> Array:
    """(models, 2, N): calibrated confidence and RMIA of every model; a reference is compared with the others."""
    z = drawn(case, rung)
    of_z = np.array([confidence(each, z.y) for each in z.logits])
    phi = np.array([confidence(each, y) for each in pooled])
    return np.stack([calibrated(phi), rmia(phi, of_z, gamma=rung.gamma, a=weight(case, rung))], axis=1)


def drawn(case: Case, rung: Reference) -> Side:
    """The population rows z, drawn without replacement where there are more than the plan asks for.

    Raises:
        BadInput: there are fewer than 100, or none.
    """
    z, n = case.population, 0 if case.population is None else len(case.population)
    if z is None or n < LEAST_Z:
        raise BadInput(f"the rung reference needs at least {LEAST_Z} population rows that no model saw; there are {n}")
    return z if n <= rung.population else z.take(np.sort(case.rng("z").permutation(n)[: rung.population]))


def others(models: int, model: int) -> Labels:
    """Which references a model is compared with: all, but not itself."""
    return np.setdiff1d(np.arange(FIRST, models), [model])


def calibrated(phi: Array) -> Array:
    """(models, N): log-odds φ less the references' mean; source: Watson et al. 2022, arXiv:2111.08440, on φ."""
    return np.stack([own - phi[others(len(phi), m)].mean(axis=0) for m, own in enumerate(phi)])


def rmia(phi: Array, of_z: Array, *, gamma: float, a: float) -> Array:
    """(models, N): scores in [0, 1] from log-odds (models, N) of the rows and (models, m) of the population.

    One sort of the m ratios per model; no array is larger than its arguments.
    """
    out = np.empty_like(phi)
    for m, own in enumerate(phi):
        rest = others(len(phi), m)
        ratio, of_population = log_ratio(own, phi[rest], a), np.sort(log_ratio(of_z[m], of_z[rest], a))
        out[m] = np.searchsorted(of_population, ratio - np.log(gamma), side="right") / of_z.shape[1]
    return out


def log_ratio(own: Array, out: Array, a: float) -> Array:
    """log p − log P of log-odds (N,) of the model and (k, N) of its references."""
    mean = logsumexp(log_probability(out), axis=0) - np.log(len(out))
    with np.errstate(divide="ignore"):      # a = 1: the constant part is log 0
        return log_probability(own) - np.logaddexp(np.log((1 + a) / 2) + mean, np.log((1 - a) / 2))


def log_probability(phi: Array) -> Array:
    """log p of log-odds, with all digits on either side."""
    return -np.logaddexp(0.0, -phi)


def weight(case: Case, rung: Reference) -> float:
    """The plan's a; where it names none, what the references alone say, to a tenth.

    Ours. The authors' code tunes a by an attack on a model of known members with models that did not see these. All
    references saw the same retain rows, so such an attack would always find 0 best. But a's own definition,
    1 − P_in = a (1 − P_out), holds on average: the references' mean 1 − p on retain rows, where they are IN, over that
    on population rows of these classes, where they are OUT. Neither the audited model nor a forget row has a say.
    """
    if rung.a is not None:
        return rung.a
    if case.population is None:
        raise BadInput("without population rows there is nothing to find the weight a of RMIA from")
    known, unknown = (_doubt(side) for side in (case.retain, case.population.of(case.retain.y)))
    return round(min(1.0, known / unknown), 1) if unknown else 1.0


def _doubt(side: Side) -> float:
    """Mean 1 − p over rows and references."""
    return float(np.mean([expit(-confidence(z, side.y)) for z in side.logits[FIRST:]])) if len(side) else 0.0
