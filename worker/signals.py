r"""What an attacker reads from a model's answer to one row.

Systematic Evaluation of Privacy Risks of Machine Learning Models. Song, Mittal. USENIX Security 2021. arXiv:2003.10595.

    entropy    H      = −Σ_i p_i log p_i
    modified   Mentr  = −(1 − p_y) log p_y − Σ_{i≠y} p_i log(1 − p_i)

Membership Inference Attacks From First Principles. Carlini et al. S&P 2022. arXiv:2112.03570.

    confidence φ      = log p_y − log Σ_{i≠y} p_i

The loss is log(1 + exp(−φ)), so loss and confidence rank rows alike: attacks on one model see the same AUC, attacks
that compare models row by row do not. Logits (n, K), labels (n,); all is float64, and finite for finite logits.
"""

from collections.abc import Callable, Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import logsumexp

from service.domain.policy import Signal
from service.errors import BadInput

Array = NDArray[np.float64]
Labels = NDArray[np.int64]


def confidence(logits: ArrayLike, labels: ArrayLike) -> Array:
    """Logit-scaled confidence: the log-odds of the true class."""
    z, y = _checked(logits, labels)
    rows = np.arange(len(y))
    others = z.copy()
    others[rows, y] = -np.inf
    return z[rows, y] - _log_sum(others)


def loss(logits: ArrayLike, labels: ArrayLike) -> Array:
    """Cross-entropy, in nats; by way of the log-odds, so that a tiny loss keeps its digits."""
    return np.logaddexp(0.0, -confidence(logits, labels))


def entropy(logits: ArrayLike, labels: ArrayLike) -> Array:
    """Entropy of the predicted distribution, in nats; the labels only have to fit."""
    log_p, _ = _log_probabilities(_checked(logits, labels)[0])
    return -(np.exp(log_p) * log_p).sum(axis=1)


def modified_entropy(logits: ArrayLike, labels: ArrayLike) -> Array:
    """Entropy that knows the label: 0 when confident and right, large when confident and wrong."""
    z, y = _checked(logits, labels)
    log_p, log_not = _log_probabilities(z)
    rows = np.arange(len(y))
    terms = np.exp(log_p) * log_not
    terms[rows, y] = np.exp(log_not[rows, y]) * log_p[rows, y]
    return -terms.sum(axis=1)


def margin(logits: ArrayLike, labels: ArrayLike) -> Array:
    """The true class's logit less the largest other one: above 0 where the row is predicted right."""
    z, y = _checked(logits, labels)
    rows = np.arange(len(y))
    others = z.copy()
    others[rows, y] = -np.inf
    return z[rows, y] - others.max(axis=1)


def correctness(logits: ArrayLike, labels: ArrayLike) -> Array:
    """1 where the true class has the largest logit; a tie is half a hit."""
    return (np.sign(margin(logits, labels)) + 1) / 2


SIGNALS: Final[dict[Signal, tuple[Callable[[ArrayLike, ArrayLike], Array], int]]] = {
    "loss": (loss, -1),
    "confidence": (confidence, +1),
    "entropy": (entropy, -1),
    "modified_entropy": (modified_entropy, -1),
    "correctness": (correctness, +1),
    "margin": (margin, +1),
}


def scores(logits: ArrayLike, labels: ArrayLike, signals: Sequence[Signal]) -> dict[Signal, Array]:
    """Each signal with its sign turned so that higher means more likely a member."""
    return {name: SIGNALS[name][1] * SIGNALS[name][0](logits, labels) for name in signals}


def _log_probabilities(z: Array) -> tuple[Array, Array]:
    """log p and log(1 − p); of the largest p from the others' sum, because 1 − p would cancel."""
    rows, top = np.arange(len(z)), z.argmax(axis=1)
    shifted = z - z[rows, top][:, None]
    others = shifted.copy()
    others[rows, top] = -np.inf
    rest = _log_sum(others)
    log_p = shifted - np.logaddexp(0.0, rest)[:, None]
    p = np.exp(log_p)
    p[rows, top] = 0.0
    log_not = np.log1p(-p)
    log_not[rows, top] = rest - np.logaddexp(0.0, rest)
    return log_p, log_not


def _log_sum(z: Array) -> Array:
    total: Any = logsumexp(z, axis=1)       # without types of its own, and what is inferred of it varies
    return total


def _checked(logits: ArrayLike, labels: ArrayLike) -> tuple[Array, Labels]:
    z, y = np.asarray(logits, np.float64), np.asarray(labels, np.int64)
    if z.ndim != 2 or z.shape[1] < 2 or len(z) != len(y):
        raise BadInput(f"signals need logits (n, K ≥ 2) and n labels, not {z.shape} and {y.shape}")
    if not np.isfinite(z).all():
        raise BadInput(f"the model answers with NaN or infinity on {int((~np.isfinite(z)).any(axis=1).sum())} rows")
    if len(y) and not (y.min() >= 0 and y.max() < z.shape[1]):
        raise BadInput(f"a label lies outside the model's {z.shape[1]} classes")
    return z, y
