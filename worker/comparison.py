"""AUCs of every model and signal on the same rows, with what can be said about their differences."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from scipy.stats import norm, rankdata

from service.domain.policy import AuditPlan, ScoredSignal
from worker.case import Case
from worker.metrics import WeightedAuc
from worker.nulls import Tested, permutation_test, sign_flip_test
from worker.resampling import Pool, pool
from worker.scoring import scored
from worker.signals import Array, Labels
from worker.statistics import Interval, Statistic, bca, bootstrap, influence, matched_auc

BEFORE, AFTER, REFERENCES = 0, 1, slice(2, None)


@dataclass(frozen=True)
class Comparison:
    """Scores (models, signals, N) of a pool's rows: the model before, the one after, then retrained ones."""

    plan: AuditPlan
    of: Pool
    scores: Array
    beside: tuple[Statistic, ...] = ()      # further statistics that are to be drawn along

    @classmethod
    def of_case(cls, case: Case) -> "Comparison":
        """The matched rows, and every model's scores of them."""
        f, h = case.matched
        return cls(case.plan, pool((f.y, h.y), (f.groups, h.groups)), scored(case))

    @property
    def k(self) -> int:
        return len(self.scores) - 2

    @property
    def signals(self) -> tuple[ScoredSignal, ...]:
        return self.plan.scored

    @property
    def headline(self) -> int:
        """Place of the signal that figures and tables of parts are about: the loss, where it is planned."""
        return self.signals.index("loss") if "loss" in self.signals else 0

    @property
    def lone(self) -> bool:
        """One unit has no spread, so nothing can be estimated from it."""
        return min(self.of.sizes) < 2

    def rng(self, use: int) -> np.random.Generator:
        """A stream of its own for each use, so that none depends on how much another drew."""
        return np.random.default_rng([self.plan.seed, use])

    @cached_property
    def aucs(self) -> Array:
        """(models, signals)."""
        return self._each(lambda s: np.asarray(matched_auc(s, self.of)))

    @cached_property
    def moves(self) -> Array:
        """Influences (models, signals, units)."""
        return self._each(lambda s: influence(s, self.of))

    @property
    def draws(self) -> Array:
        """Bootstrapped AUCs (models, signals, B)."""
        return self._drawn[0]

    @property
    def drawn_beside(self) -> list[Array]:
        """The further statistics under the same draws, (B, …) each."""
        return self._drawn[1]

    @cached_property
    def _drawn(self) -> tuple[Array, list[Array]]:
        n, (first, place) = self.of.forget, self._distinct
        flat = self.scores.reshape(-1, len(self.of.y))
        attacks = [WeightedAuc(flat[i][:n], flat[i][n:]) for i in first]
        drawn = bootstrap([*attacks, *self.beside], self.of, self.plan.bootstrap, self.rng(1))
        aucs = np.stack(drawn[: len(attacks)])[place]
        return aucs.reshape(*self.scores.shape[:2], -1), drawn[len(attacks) :]

    def others(self, model: int) -> list[int]:
        """The references that a model is compared with: all, but never itself."""
        return [j for j in range(2, 2 + self.k) if j != model]

    def level(self, model: int, s: int) -> float:
        """The AUC that is aimed at: the references' mean, or ½."""
        others = self.others(model)
        return float(self.aucs[others, s].mean()) if others else 0.5

    def interval(self, models: list[int], s: int, level: float) -> Interval:
        """Of the models' mean AUC."""
        if self.lone:
            return 0.0, 1.0
        return bca(
            self.draws[models, s].mean(axis=0),
            float(self.aucs[models, s].mean()),
            self.moves[models, s].mean(axis=0),
            level,
        )

    def gap(self, model: int, s: int, level: float) -> Interval:
        """Of the model's AUC less its references', on the same draws."""
        if self.lone:
            return -1.0, 1.0
        return bca(self._gaps(model, s), self.distance(model, s), self._moved(model)[s], level)

    def distance(self, model: int, s: int) -> float:
        """The model's AUC less its references'; signed."""
        return float(self.aucs[model, s] - self.level(model, s))

    def tost(self, s: int) -> float:
        """The larger p of the two one-sided tests, by a normal approximation to the bootstrap's spread."""
        if self.lone:
            return 1.0
        gap, se = abs(self.distance(AFTER, s)), float(self._gaps(AFTER, s).std(ddof=1))
        return float(norm.sf((self.plan.margin - gap) / se)) if se else float(gap >= self.plan.margin)

    @cached_property
    def tested(self) -> Tested:
        return self.test(AFTER)

    @cached_property
    def oracles(self) -> dict[int, Tested]:
        """Each retrained model's own test; a lone one has no others to be compared with."""
        return {j: self.test(j) for j in range(2, 2 + self.k)} if self.k > 1 else {}

    def flagged(self, model: int, s: int, tested: Tested) -> bool:
        """Significant beside the other signals, and an interval that says so too."""
        low, high = self.gap(model, s, 0.95)
        return bool(tested.adjusted[s] < self.plan.alpha and not low <= 0 <= high)

    def leaks(self, s: int) -> bool:
        """Flagged, where no retrained model is flagged that lies as far off: that takes a leak's meaning away."""
        off = abs(self.distance(AFTER, s))
        return self.flagged(AFTER, s, self.tested) and not any(
            self.flagged(j, s, tested) and abs(self.distance(j, s)) >= off for j, tested in self.oracles.items()
        )

    def test(self, model: int) -> Tested:
        """Beside references a paired test of the same rows, whoever chose them; without, forget rows for holdout rows.

        One unit has no spread, so beside references it shows nothing.
        """
        rng, draws = self.rng(2), self.plan.permutations
        if not self.others(model):
            test = permutation_test(self.ranked_apart(model), self.of, draws, rng)
            place = self._place(model)
            return Tested(test.p[place], test.adjusted[place], test.statistic)
        gaps = np.array([self.distance(model, s) for s in range(len(self.signals))])
        if self.lone:
            return Tested(np.ones(len(gaps)), np.ones(len(gaps)), float(np.abs(gaps).max()))
        return sign_flip_test(gaps, self._moved(model), self.of.strata, draws, rng)

    def ranked_apart(self, model: int) -> Array:
        """The model's scores, (≤ signals, N): of signals that rank the rows alike, one."""
        return self.scores[model][np.unique(self._place(model), return_index=True)[1]]

    def _place(self, model: int) -> Labels:
        place = self._distinct[1].reshape(self.scores.shape[:2])[model]
        return np.unique(place, return_inverse=True)[1]

    @cached_property
    def _distinct(self) -> tuple[Labels, Labels]:
        """Attacks that rank the rows alike have the same AUC under all weights: the first of each kind, and its place.

        Confidence ranks as the loss does; of two classes, so do margin and others.
        """
        ranks = (rankdata(s, "dense").astype(np.int32).tobytes() for s in self.scores.reshape(-1, len(self.of.y)))
        known: dict[bytes, int] = {}
        place = np.array([known.setdefault(rank, len(known)) for rank in ranks])
        return np.unique(place, return_index=True)[1], place

    def _gaps(self, model: int, s: int) -> Array:
        others = self.others(model)
        return self.draws[model, s] - (self.draws[others, s].mean(axis=0) if others else 0.5)

    def _moved(self, model: int) -> Array:
        others = self.others(model)
        return self.moves[model] - (self.moves[others].mean(axis=0) if others else 0.0)

    def _each(self, function: Callable[[Array], Array]) -> Array:
        return np.array([[function(s) for s in model] for model in self.scores])
