"""How dependent the rows to be forgotten are on those that stay, by what the model makes of both.

G2 asks whether the forget rows could be any rows; G3 whether the ascent outweighs the descent where both live.
"""

from collections.abc import Generator as Drawn
from collections.abc import Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from math import sqrt
from typing import Final, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.stats import norm
from sklearn.cluster import KMeans
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GroupKFold
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler
from torch import Generator, Tensor, nn

from worker import tasks
from worker.checks import Check, Verdict
from worker.data import Rows, Split, inputs
from worker.inference import CHUNK, at_rest
from worker.metrics import auc
from worker.power import auc_variance

Features = NDArray[np.float64]
Numbers = NDArray[np.int64]
Brake = Literal["none", "guard", "own"]     # what ends an ascent where unseen rows are

FOLDS = 5
LEVEL = 0.95        # of the interval that asks whether a classifier tells forget from retain rows
MOST = 1_000        # rows of a side that the classifier learns from: its interval is then ±.025
FEW = 10            # persons, or rows, of which a cross-validated classifier can say something
FLAGGED: Final = 0.1       # share of the forget rows in outweighed clusters; fewer may sit at the clusters' borders
CLUSTER = 100       # rows of a label for each of its clusters: fewer, and chance decides a cluster's shares
CLUSTERS = 8        # of a label at most; a label with no more distinct rows than that has one cluster for each

TRAPPED: Final[dict[Brake, Verdict]] = {"none": "refuse", "guard": "warn", "own": "ok"}
STOPS: Final[dict[Brake, str]] = {
    "none": "nothing stops it", "guard": "its guard stops it", "own": "its own target stops it"
}


@dataclass(frozen=True)
class Seen:
    """(n, d) what the model's head is given for each row."""

    features: Features
    hidden: bool        # False: the model has no linear layer, so these are its answers


@torch.no_grad()
def features(model: nn.Module, rows: Rows) -> Seen:
    """The input of the linear layer that is called last."""
    head, parts = last_linear(model, rows), list[Tensor]()
    with at_rest(model):
        for x in rows.x.split(CHUNK):
            with heard(() if head is None else (head,)) as calls:
                answers = model(inputs(x))
            parts.append((calls[-1][1] if calls else answers).flatten(1))
    return Seen(torch.cat(parts).double().cpu().numpy(), hidden=head is not None)


@torch.no_grad()
def last_linear(model: nn.Module, rows: Rows) -> nn.Linear | None:
    """The linear layer that is called last, if one row gives it one vector; None where there is none."""
    with at_rest(model), heard([m for m in model.modules() if isinstance(m, nn.Linear)]) as calls:
        model(inputs(rows.x[:1]))
    return calls[-1][0] if calls and len(calls[-1][1]) == 1 else None


@contextmanager
def heard(layers: Sequence[nn.Linear]) -> Drawn[list[tuple[nn.Linear, Tensor]]]:
    """Which of the layers are called, and with what."""
    calls: list[tuple[nn.Linear, Tensor]] = []

    def hear(layer: nn.Module, given: tuple[Tensor, ...]) -> None:
        if isinstance(layer, nn.Linear):
            calls.append((layer, given[0].detach()))

    hooks = [layer.register_forward_pre_hook(hear) for layer in layers]
    try:
        yield calls
    finally:
        for hook in hooks:
            hook.remove()


def random_set(model: nn.Module, data: Split, *, brake: Brake, rng: Generator) -> Check:
    """G2: can a classifier tell forget rows from retain rows by what the model's head sees?

    Lemma 1 (Hoeffding) holds for random forget rows only: a retrained model then knows them as well as unseen rows.
    """
    F, R = sample(data.forget, MOST, rng), sample(data.retain, MOST, rng)
    who = persons(F), persons(R, first=len(F))
    units = [len(np.unique(each)) for each in who]
    if min(units) < FEW:
        what = "persons" if data.forget.groups is not None else "rows"
        return Check(name="G2_random_set", sentence=f"Fewer than {FEW} {what} on a side: randomness was not tested.")
    seen = [features(model, rows) for rows in (F, R)]
    found = separability([s.features for s in seen], who, rng)
    half = float(norm.ppf((1 + LEVEL) / 2)) * sqrt(auc_variance(min(max(found, 0.5), 0.99), units[0], units[1]))
    return told(found, half, brake=brake, hidden=seen[0].hidden)


def told(found: float, half: float, *, brake: Brake, hidden: bool) -> Check:
    """The check's verdict: a random set is fine if something stops the ascent where unseen rows are."""
    by = "features of the last layer" if hidden else "answers, as the model has no linear layer"
    interval = f"AUC {found:.3f} ± {half:.3f} by the {by}"
    verdict: Verdict = "ok" if brake != "none" and found - half <= 0.5 else "warn"
    if found - half > 0.5:
        sentence = f"Forget rows differ from retain rows ({interval}): unseen rows are no sure target for them."
    elif brake != "none":
        sentence = f"Forget rows are like any rows ({interval}): the target is what unseen rows get, never worse."
    else:
        sentence = f"Forget rows are like any rows ({interval}), and nothing stops the ascent at what unseen rows get."
    return Check(name="G2_random_set", value=found, threshold=0.5 + half, verdict=verdict, sentence=sentence)


def separability(sides: Sequence[Features], units: Sequence[Numbers], rng: Generator) -> float:
    """Mean AUC, over the folds, of a logistic regression on rows of persons it has not seen."""
    x, y = np.concatenate(sides), np.repeat([1, 0], [len(side) for side in sides])
    groups = np.concatenate([units[0], units[1]])
    folds = GroupKFold(FOLDS, shuffle=True, random_state=seed(rng))
    scores: list[float] = []
    for train, test in folds.split(x, y, groups):
        if 0 < y[train].mean() < 1 and 0 < y[test].mean() < 1:
            of = classifier().fit(x[train], y[train]).decision_function(x[test])
            scores.append(auc(of[y[test] == 1], of[y[test] == 0]))
    return float(np.mean(scores))


def classifier() -> Pipeline:
    """Ridge-penalised, so that more features than rows do not decide; the sides count the same."""
    logistic = LogisticRegression(C=0.01, class_weight="balanced", max_iter=1000, tol=1e-3)
    return make_pipeline(StandardScaler(), logistic)


def cluster_share(model: nn.Module, data: Split, *, ascent: float, brake: Brake, rng: Generator) -> Check:
    """G3: the share of forget rows that live where the ascent outweighs the descent.

    There the objective has no minimum, or one at which the retain rows beside them are lost (Lemma 3).
    """
    R = sample(data.retain, 5 * MOST, rng)
    clusters = clustered(model, data.forget, R, rng)
    n_F, n_R = counted(clusters[: len(data.forget)], clusters[len(data.forget) :])
    weighed = outweighed(n_F, n_R, ascent)
    trapped, alone = (float(n_F[weighed & of].sum() / n_F.sum()) for of in (n_R > 0, n_R == 0))
    verdict, sentence = weighing(trapped, alone, brake)
    value = trapped + alone
    return Check(name="G3_cluster_share", value=value, threshold=FLAGGED, verdict=verdict, sentence=sentence)


def weighing(trapped: float, alone: float, brake: Brake) -> tuple[Verdict, str]:
    """The check's verdict: what stops by itself is bounded by its target, whatever the weights."""
    if trapped > FLAGGED:
        told = f"For {trapped:.0%} of the forget rows the ascent outweighs the descent on retain rows like them"
        return TRAPPED[brake], f"{told}; {STOPS[brake]}."
    if alone > FLAGGED:
        told = f"{alone:.0%} of the forget rows have no retain rows like them, so no descent opposes the ascent"
        return "warn" if brake == "none" else "ok", f"{told}; {STOPS[brake]}."
    return "ok", "The descent outweighs the ascent wherever forget rows have retain rows like them."


def outweighed(n_F: Features, n_R: Features, ascent: float) -> NDArray[np.bool_]:
    """Clusters of net weight ≤ 0 in (1 − α)·L_R − α·L_F, both means: α · n_F/|F| ≥ (1 − α) · n_R/|R|.

    Of sums instead of means with weight γ, α/(1 − α) = γ|F|/|R|.
    """
    pull, hold = ascent * n_F * n_R.sum(), (1 - ascent) * n_R * n_F.sum()
    return (n_F > 0) & (pull >= hold * (1 - 1e-9))


def counted(forget: Numbers, retain: Numbers) -> tuple[Features, Features]:
    """(clusters,) rows of each side."""
    K = 1 + max(forget.max(), retain.max())
    return np.bincount(forget, minlength=K).astype(float), np.bincount(retain, minlength=K).astype(float)


def clustered(model: nn.Module, F: Rows, R: Rows, rng: Generator) -> Numbers:
    """(F + R,) the cluster of each row; rows of one label are clustered by their features."""
    x = np.concatenate([features(model, rows).features for rows in (F, R)])
    y = np.concatenate([labels(rows) for rows in (F, R)])
    clusters, used = np.zeros(len(x), np.int64), 0
    for label in np.unique(y):
        own = k_means(x[y == label], rng)
        clusters[y == label] = own + used
        used += own.max() + 1
    return clusters


def k_means(x: Features, rng: Generator) -> Numbers:
    """Clusters of about a hundred rows or more; rows of few distinct kinds are a cluster for each."""
    kinds, kind = np.unique(x, axis=0, return_inverse=True)
    if len(kinds) <= CLUSTERS:
        return kind.reshape(-1).astype(np.int64)
    k = min(max(len(x) // CLUSTER, 1), CLUSTERS)
    return KMeans(k, random_state=seed(rng)).fit_predict(x).astype(np.int64)


def labels(rows: Rows) -> Numbers:
    """Classes; of labels that are none all rows are of one."""
    if tasks.task_of(rows.y) != "classification":
        return np.zeros(len(rows), np.int64)
    return rows.y.cpu().numpy().astype(np.int64)


def persons(rows: Rows, *, first: int = 0) -> Numbers:
    """A number for each row that rows of one person share; where nobody is known, from `first` on."""
    return first + np.arange(len(rows)) if rows.groups is None else rows.groups.cpu().numpy().astype(np.int64)


def sample(rows: Rows, most: int, rng: Generator) -> Rows:
    """As they are, or as many drawn at random."""
    return rows if len(rows) <= most else rows.take(torch.randperm(len(rows), generator=rng)[:most].to(rows.y.device))


def seed(rng: Generator) -> int:
    """For those who draw from numpy."""
    return int(torch.randint(2**31 - 1, (1,), generator=rng))
