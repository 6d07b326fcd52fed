r"""Lower bounds on ε from attacks; there are no upper ones. Who chooses and who is tested never share a trial.

Clopper–Pearson (Jagielski, Ullman, Oprea 2020; arXiv:2006.07709). (ε, δ)-indistinguishable pipelines satisfy, for every
test, FPR·e^ε ≥ 1 − FNR − δ and FNR·e^ε ≥ 1 − FPR − δ. Each rate is replaced by its upper limit at α/2:

    ε ≥ max{ log((1 − δ − FPR⁺) / FNR⁺), log((1 − δ − FNR⁺) / FPR⁺), 0 }

The threshold, and which side of it is called a member, are chosen on half of the trials and tested on the other half.

One run (Steinke, Nasr, Jagielski 2023; arXiv:2305.08846). Of m canaries, each put in by a fair coin of its own, r are
guessed and v guesses are right; every ε is refuted for which

    P[Bin(r, e^ε/(1+e^ε)) ≥ v] + 2mδ · max_i P[v > Bin(r, e^ε/(1+e^ε)) ≥ v − i] / i  ≤  α

r is fixed before anyone looks; trials need not be independent, coins must be.
"""

from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import brentq
from scipy.special import expit
from scipy.stats import beta, binom

from service.domain.report import EpsilonBound
from service.errors import BadInput
from worker.signals import Array

Counts = NDArray[np.int64]
MOST: Final = 50.0      # nats; no finite number of guesses gets there


def clopper_pearson(
    false_positives: int, n_out: int, false_negatives: int, n_in: int, *, alpha: float, delta: float = 0.0
) -> float:
    """ε, in nats, from the errors of a test that was fixed beforehand; trials are independent."""
    return float(_bounds(np.array([false_positives]), n_out, np.array([false_negatives]), n_in, alpha, delta)[0])


def split_half(
    chosen_on: tuple[Array, Array], tested_on: tuple[Array, Array], *, alpha: float, delta: float = 0.0
) -> EpsilonBound:
    """Scores of (members, others) in two halves of independent trials.

    Raises:
        BadInput: a part is empty.
    """
    if not all(map(len, (*chosen_on, *tested_on))):
        raise BadInput("a bound on ε needs members and others in both halves")
    threshold, sign = _threshold(*chosen_on, alpha=alpha, delta=delta)
    members, others = (sign * np.asarray(side) >= threshold for side in tested_on)
    wrong = int(others.sum()), int((~members).sum())
    return EpsilonBound(
        value=clopper_pearson(wrong[0], len(others), wrong[1], len(members), alpha=alpha, delta=delta),
        method="clopper_pearson_split", delta=delta, alpha=alpha, threshold_policy="split_half",
        ceiling=clopper_pearson(0, len(others), 0, len(members), alpha=alpha, delta=delta),
        n=min(len(members), len(others)), n_guesses=len(members) + len(others),
        n_correct=len(members) + len(others) - sum(wrong),
    )


def one_run(
    scores: Array, included: NDArray[np.bool_], guesses: int, *, alpha: float, delta: float = 0.0
) -> EpsilonBound:
    """The half with the highest scores is guessed in, the half with the lowest out.

    Args:
        scores: (m,) of the canaries; higher = member. Their order among ties must not know the coins.
        included: (m,) how the coins fell.
        guesses: r, fixed beforehand; an odd one leaves the last out.
    """
    r = guesses // 2 * 2
    return bound(len(scores), r, correct(scores, included, r), alpha=alpha, delta=delta)


def correct(scores: Array, included: NDArray[np.bool_], guesses: int) -> int:
    """How many of the guesses are right."""
    if not 2 <= guesses <= len(scores):
        raise BadInput(f"{guesses} guesses cannot be made about {len(scores)} canaries: two at least, all at most")
    order = np.argsort(scores, kind="stable")
    half = guesses // 2
    return int((~included[order[:half]]).sum() + included[order[len(order) - half :]].sum())


def bound(canaries: int, guesses: int, correct: int, *, alpha: float, delta: float = 0.0) -> EpsilonBound:
    """What this many right guesses prove."""
    return EpsilonBound(
        value=_refuted(canaries, guesses, correct, alpha, delta), method="one_run", delta=delta, alpha=alpha,
        ceiling=_refuted(canaries, guesses, guesses, alpha, delta), threshold_policy="fixed_guesses",
        n=canaries, n_guesses=guesses, n_correct=correct,
    )


def p_value(epsilon: float, canaries: int, guesses: int, correct: int, delta: float = 0.0) -> float:
    """Chance of so many right guesses, or more, if the pipeline were (ε, δ)."""
    q = expit(epsilon)
    tail = float(binom.sf(correct - 1, guesses, q))
    if not delta or not correct:
        return min(1.0, tail)
    within = np.cumsum(binom.pmf(np.arange(correct - 1, -1, -1), guesses, q))      # P[v > Bin ≥ v − i], i = 1 … v
    return min(1.0, tail + 2 * canaries * delta * float((within / np.arange(1, correct + 1)).max()))


def _refuted(canaries: int, guesses: int, correct: int, alpha: float, delta: float) -> float:
    """The largest ε that is refuted; 0 if not even that is."""

    def left(epsilon: float) -> float:
        return p_value(epsilon, canaries, guesses, correct, delta) - alpha

    if left(0.0) > 0:
        return 0.0
    return float(brentq(left, 0.0, MOST, xtol=1e-9))    # pyright: ignore[reportArgumentType]  # scipy is half typed


def _bounds(fp: Counts, n_out: int, fn: Counts, n_in: int, alpha: float, delta: float) -> Array:
    """The same of many tests, each for itself."""
    fpr, fnr = _upper(fp, n_out, alpha / 2), _upper(fn, n_in, alpha / 2)
    with np.errstate(divide="ignore"):      # a rate that may be 1 bounds nothing: log 0 = −∞
        either = [np.log(np.maximum(0.0, 1 - delta - a)) - np.log(b) for a, b in ((fpr, fnr), (fnr, fpr))]
    return np.maximum(0.0, np.maximum(*either))


def _upper(k: Counts, n: int, alpha: float) -> Array:
    """Of the rate, where k of n were seen."""
    return np.where(k >= n, 1.0, beta.ppf(1 - alpha, k + 1, np.maximum(n - k, 1)))


def _threshold(members: Array, others: Array, *, alpha: float, delta: float) -> tuple[float, int]:
    """The cut, and the sign of the score, with the highest bound here; of equals the fewest errors."""
    cuts, signs, values, errors = [], [], [], []
    for sign in (1, -1):
        m, o = np.sort(sign * np.asarray(members)), np.sort(sign * np.asarray(others))
        seen = np.unique(np.concatenate([m, o]))
        cut = np.concatenate([seen[:1], (seen[:-1] + seen[1:]) / 2])    # halfway: at a score itself, its like may fail
        fp, fn = len(o) - np.searchsorted(o, cut), np.searchsorted(m, cut)
        cuts.append(cut)
        signs.append(np.full(len(cut), sign))
        values.append(_bounds(fp, len(o), fn, len(m), alpha, delta))
        errors.append(fp + fn)
    best = np.lexsort((np.concatenate(errors), -np.concatenate(values)))[0]
    return float(np.concatenate(cuts)[best]), int(np.concatenate(signs)[best])
