r"""How likely is a row's confidence under models that had the row, beside models that had not? Held-out models only.

Membership Inference Attacks From First Principles. Carlini et al. S&P 2022. arXiv:2112.03570.

    online     Λ = log p(φ | in) − log p(φ | out)
    offline    Λ = log P(Φ ≤ φ | out)

p is a Gaussian per row, of the row's own variance (`per_example`) or of one for all rows (`fixed`). `nig` is ours, a
reconstruction of the idea of Bayesian variance inference (BaVarIA), not its published numbers: each variance has an
inverse-gamma prior, fitted to all rows' variances by their first two moments; each mean a normal one that weighs as
much as one model and lies at the row's mean over both sides; p is then the predictive Student t.

Differs from the paper: a model is scored by the others alone. Scored by a fit that it is part of, it looks like its own
side, and an attack on nothing succeeds. A fold (models dealt complementary rows) is left out as a whole, so that both
sides lose the same number of models, and neither looks more likely for being better known.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray
from scipy.stats import t as student

from service.errors import BadInput
from worker.signals import Array, Labels

Variance = Literal["per_example", "fixed", "nig"]
Mask = NDArray[np.bool_]
FLOOR: Final = 1e-2         # of a standard deviation, in nats of φ
PRIOR_MODELS: Final = 1.0   # ours: what the prior of a mean weighs, in models
STIFF: Final = 1e4          # shape of a prior that nothing spreads: one variance for all rows
GAUSS: Final = np.inf       # degrees of freedom


@dataclass(frozen=True)
class Fit:
    """One side's φ of each row: Student t of these places, scales and degrees of freedom; infinite: Gaussian."""

    place: Array        # (n,)
    scale: Array        # (n,)
    freedom: Array      # (n,)

    def log_density(self, phi: Array) -> Array:
        """Of φ (…, n), in nats."""
        return student.logpdf(phi, self.freedom, self.place, self.scale)

    def log_below(self, phi: Array) -> Array:
        """Log of the chance of a smaller φ."""
        return student.logcdf(phi, self.freedom, self.place, self.scale)


def lira(
    phi: Array, included: Mask, *, fold: Sequence[int] | Labels | None = None, variance: Variance = "nig",
    mode: Literal["online", "offline"] = "online", centre: Literal["mean", "median"] = "mean",
) -> Array:
    """Scores (M, n) of every model by the models of other folds; higher = member.

    Args:
        phi: (M, n) logit-scaled confidence of n rows under M models.
        included: (M, n) which model had which row.
        fold: (M,) number of the fold of each model; each its own unless given.
        centre: what the Gaussians lie at; `nig` has means.
    Raises:
        BadInput: shapes differ, φ is not finite, or too few models of other folds had, or had not, some row.
    """
    folds = np.arange(len(phi)) if fold is None else np.asarray(fold)
    _check(phi, included, folds)
    scores = np.empty(phi.shape)
    for one in np.unique(folds):
        held = folds == one
        inside, outside = fits(phi[~held], included[~held], variance, centre)
        if mode == "offline":
            scores[held] = outside.log_below(phi[held])
        else:
            scores[held] = inside.log_density(phi[held]) - outside.log_density(phi[held])
    return scores


def fits(phi: Array, included: Mask, variance: Variance, centre: Literal["mean", "median"] = "mean") -> tuple[Fit, Fit]:
    """The two sides' distributions of every row, from all these models."""
    if variance != "nig":
        return _gaussian(phi, included, variance, centre), _gaussian(phi, ~included, variance, centre)
    both = phi.mean(axis=0)
    return _shrunk(phi, included, both), _shrunk(phi, ~included, both)


def _gaussian(phi: Array, of: Mask, variance: Variance, centre: Literal["mean", "median"]) -> Fit:
    n, mean, squares = _moments(phi, of)
    var = squares / (n - 1)
    if variance == "fixed":
        var = np.full_like(var, squares.sum() / (n - 1).sum())
    place = mean if centre == "mean" else np.nanmedian(np.where(of, phi, np.nan), axis=0)
    return Fit(place, np.maximum(np.sqrt(var), FLOOR), np.full_like(var, GAUSS))


def _shrunk(phi: Array, of: Mask, both: Array) -> Fit:
    """Posterior predictive of a normal–inverse-gamma prior; textbook updates, prior as said above."""
    n, mean, squares = _moments(phi, of)
    a, b = inverse_gamma(squares / (n - 1), n - 1)
    k = PRIOR_MODELS + n
    place = (PRIOR_MODELS * both + n * mean) / k
    shape = a + n / 2
    rate = b + squares / 2 + PRIOR_MODELS * n * (mean - both) ** 2 / (2 * k)
    return Fit(place, np.maximum(np.sqrt(rate * (k + 1) / (shape * k)), FLOOR), 2 * shape)


def inverse_gamma(variances: Array, freedom: Array) -> tuple[float, float]:
    """Shape and rate of the prior that these sample variances (n,) come from, by their first two moments.

    E s² = E σ²,  E s⁴ = E σ⁴ (1 + 2/ν);  for IG(a, b): E σ² = b/(a−1), E σ⁴/(E σ²)² = (a−1)/(a−2).
    """
    mean = max(float(variances.mean()), FLOOR**2)
    spread = float((variances**2 / (1 + 2 / freedom)).mean()) / mean**2
    a = min(2 + 1 / (spread - 1), STIFF) if spread > 1 else STIFF
    return a, mean * (a - 1)


def _moments(phi: Array, of: Mask) -> tuple[Array, Array, Array]:
    """Of each row over the models of one side: how many, their mean, their sum of squares about it."""
    n = of.sum(axis=0).astype(float)
    mean = np.where(of, phi, 0.0).sum(axis=0) / n
    return n, mean, (np.where(of, phi - mean, 0.0) ** 2).sum(axis=0)


def _check(phi: Array, included: Mask, folds: Labels) -> None:
    if phi.ndim != 2 or included.shape != phi.shape or folds.shape != phi.shape[:1]:
        raise BadInput(f"LiRA needs φ and a mask (models, rows), not {phi.shape} and {included.shape}")
    if not np.isfinite(phi).all():
        raise BadInput(f"a confidence is NaN or infinite on {int((~np.isfinite(phi)).any(axis=0).sum())} rows")
    per_fold = np.array([included[folds == one].sum(axis=0) for one in np.unique(folds)])
    per_fold_out = np.array([(~included[folds == one]).sum(axis=0) for one in np.unique(folds)])
    fewest = min(int((side.sum(axis=0) - side.max(axis=0)).min()) for side in (per_fold, per_fold_out))
    if fewest < 2:
        raise BadInput(f"a variance needs two models on each side of every row, and some row has {max(fewest, 0)}")
