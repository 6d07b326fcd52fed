"""To which classes a model sends rows, how far two such histograms are apart, and a machine that tells rows apart."""

from collections.abc import Callable, Sequence
from typing import Final

import numpy as np
from sklearn.metrics import balanced_accuracy_score
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC

from worker.signals import Array, Labels

MOST: Final = 1_000     # rows of a class; a support vector machine's cost grows with their square


def histogram(z: Array) -> Array:
    """(K,) shares of the predicted classes, of logits (n, K)."""
    return np.bincount(z.argmax(axis=1), minlength=z.shape[1]) / len(z)


def total_variation(p: Array, q: Array) -> float:
    """Half the sum of |p − q|: 0 for the same histogram, 1 for none in common."""
    return float(np.abs(p - q).sum() / 2)


def apart(values: Sequence[Array], distance: Callable[[Array, Array], float]) -> float:
    """Mean distance of each value to the mean of the others; of two or more."""
    table = np.array(values)
    return float(np.mean([distance(one, np.delete(table, i, axis=0).mean(axis=0)) for i, one in enumerate(table)]))


def machine() -> Pipeline:
    """RBF, C = 3, on standardised features: ours, the source does not say."""
    return make_pipeline(StandardScaler(), SVC(C=3, gamma="scale"))


def separability(x: Array, y: Labels, half: Labels) -> float:
    """Balanced accuracy of features (n, d) against 0 or 1, each half judged by what the other taught."""
    judged = []
    for a in (0, 1):
        fit, judge = half == a, half != a
        judged.append(balanced_accuracy_score(y[judge], machine().fit(x[fit], y[fit]).predict(x[judge])))
    return float(np.mean(judged))


def halves(y: Labels, units: Labels, rng: np.random.Generator) -> Labels:
    """(n,) 0 or 1: persons are dealt, so none both teaches and judges; rows are, where a half would lack a class."""
    half = (rng.permutation(int(units.max()) + 1) % 2)[units]
    if len(np.unique(half * 2 + y)) == 4:
        return half
    half = np.empty(len(y), np.int64)
    for c in (0, 1):
        half[y == c] = rng.permutation(int((y == c).sum())) % 2
    return half
