"""What the shadows of a recipe say together: the report of U-LiRA."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from hashlib import sha256
from typing import Final

import numpy as np
import rfc8785
from scipy.stats import wilcoxon
from torch import Tensor

from service.domain.recipe_audits import RecipePlan, recipe_sha256
from service.domain.recipes import Spec
from service.domain.report import EpsilonBound, PerExample, RecipeReport, Seen
from service.errors import BadInput
from worker import epsilon, provenance
from worker.lira import Mask, lira
from worker.metrics import auc
from worker.signals import Array, Labels
from worker.statistics import Interval, bca

SHARES: Final = (0.02, 0.05, 0.1, 0.2, 0.5, 1.0)    # of the persons that are guessed; which one, half the pairs decide
QUANTILES: Final = (0.0, 0.05, 0.25, 0.5, 0.75, 0.95, 1.0)
FOR_TPR: Final = 1_000      # rows never seen, over models: ten false positives at 1 %
NOT_CLAIMED: Final = (
    "It does not say that any person's data was deleted: it compares models, and reads no weights and no backups.",
    "It speaks of this recipe on this data set, not of one released model; other settings need another audit.",
    "A stronger attack, or more shadow models, may find what this one did not.",
    "The bound on epsilon is a lower one: nothing here says how large epsilon is at most.",
)


@dataclass(frozen=True)
class Shadows:
    """One state of all shadows, before or after they were made to forget."""

    plan: RecipePlan
    phi: Array          # (N, n)
    included: Mask      # (N, n)
    units: Labels       # (n,)

    @cached_property
    def scores(self) -> Array:
        """(N, n) of each shadow by the other pairs."""
        return lira(self.phi, self.included, fold=np.arange(len(self.phi)) // 2, variance=self.plan.variance)

    @property
    def seen(self) -> Seen:
        """All numbers of the attack."""
        each = np.array([auc(s[had], s[~had]) for s, had in zip(self.scores, self.included, strict=True)])
        right = ((self.scores > 0) == self.included).mean()     # both sides have as many rows, over a pair
        return Seen(
            auc=float(each.mean()), auc_ci95=self._interval(each), balanced_accuracy=float(right),
            tpr_at_1=self._tpr(), per_example=self._per_example(), epsilon=self._epsilon(), klom=None,
        )

    def _interval(self, each: Array) -> Interval:
        """Of the mean over models; pairs are drawn anew, for the two of a pair are not independent."""
        pairs = each.reshape(-1, 2).mean(axis=1)
        rng = np.random.default_rng([self.plan.seed, 3])
        draws = pairs[rng.integers(len(pairs), size=(self.plan.bootstrap, len(pairs)))].mean(axis=1)
        return bca(draws, float(pairs.mean()), (pairs - pairs.mean()) / len(pairs), 0.95)

    def _tpr(self) -> float | None:
        """At the threshold that 1 % of the rows never seen exceed; likelihoods mean the same in every model."""
        member, other = self.scores[self.included], self.scores[~self.included]
        return float((member > np.quantile(other, 0.99)).mean()) if len(other) >= FOR_TPR else None

    @cached_property
    def sides(self) -> tuple[Array, Array]:
        """φ (N/2, n) of each pair's shadow that had the row, and of the one that had not."""
        first, a, b = self.included[::2], self.phi[::2], self.phi[1::2]
        return np.where(first, a, b), np.where(first, b, a)

    def _per_example(self) -> PerExample:
        inside, outside = self.sides
        p = np.sort(signed_ranks(inside - outside))
        of_rows = np.array([auc(i, o) for i, o in zip(inside.T, outside.T, strict=True)])
        return PerExample(
            n_tested=len(p), n_significant_holm=holm(p, self.plan.alpha), smallest_p=float(p[0]),
            smallest_possible_p=2.0 ** (1 - len(inside)), auc_quantiles=tuple(np.quantile(of_rows, QUANTILES)),
            epsilon=self._worst_row(),
        )

    def _worst_row(self) -> EpsilonBound:
        """The row whose sides lie furthest apart in half of the pairs, tested in the others."""
        half = len(self.sides[0]) // 2
        (in_a, in_b), (out_a, out_b) = ((side[:half], side[half:]) for side in self.sides)
        gap, spread = in_a.mean(axis=0) - out_a.mean(axis=0), in_a.var(axis=0, ddof=1) + out_a.var(axis=0, ddof=1)
        worst = int(np.argmax(np.abs(gap) / np.sqrt(spread + 1e-12)))
        of = [(i[:, worst], o[:, worst]) for i, o in ((in_a, out_a), (in_b, out_b))]
        return epsilon.split_half(of[0], of[1], alpha=self.plan.alpha, delta=self.plan.delta)

    def _epsilon(self) -> EpsilonBound:
        """Many one-run audits as one: a person's coin in a shadow is a canary's, and one shadow of a pair is used."""
        of_persons = self._by_person()
        half = len(of_persons) // 2
        best = max(guesses_of(of_persons.shape[1]), key=lambda r: self._guessed(of_persons[:half], 0, r).value)
        found = self._guessed(of_persons[half:], half, best)
        return found.model_copy(update={"threshold_policy": "split_half"})

    def _guessed(self, scores: Array, first: int, guesses: int) -> EpsilonBound:
        coins = self._coins()[first : first + len(scores)]
        right = sum(epsilon.correct(s, had, guesses) for s, had in zip(scores, coins, strict=True))
        return epsilon.bound(
            scores.size, guesses * len(scores), right, alpha=self.plan.alpha, delta=self.plan.delta
        )

    def _by_person(self) -> Array:
        """(N/2, persons): the first shadow's scores, a person's rows taken together."""
        return np.array([np.bincount(self.units, s).astype(float) for s in self.scores[::2]])

    def _coins(self) -> Mask:
        """(N/2, persons)."""
        _, first_row = np.unique(self.units, return_index=True)
        return self.included[::2, first_row]


def conclude(
    parts: Sequence[Mapping[str, Tensor]], plan: RecipePlan, *, spec: Spec, dataset_sha256: str | None
) -> RecipeReport:
    """The report, from parts in any order.

    Raises:
        BadInput: a shadow is missing or there twice, or parts are of different pools.
    """
    whole = together(parts, plan)
    units, included = whole["units"], whole["included"]
    before, after = (Shadows(plan, whole[f"phi_{s}"].astype(float), included, units).seen for s in ("before", "after"))
    return RecipeReport(
        plan=plan,
        plan_sha256=sha256(rfc8785.dumps(plan.model_dump(mode="json"))).hexdigest(),
        recipe_sha256=recipe_sha256(dataset_sha256, spec, plan.method),
        dataset_sha256=dataset_sha256,
        code_sha256=provenance.code_digest(),
        n_in_unlearned=float(included.sum(axis=0).mean()),
        n_out=float((~included).sum(axis=0).mean()),
        n_rows=len(units),
        n_persons=int(units.max()) + 1,
        before=before,
        after=after,
        holdout_drop=float((whole["accuracy_before"] - whole["accuracy_after"]).mean()),
        environment=provenance.versions(),
        statement=statement(plan, before, after),
        not_claimed=NOT_CLAIMED,
    )


def together(parts: Sequence[Mapping[str, Tensor]], plan: RecipePlan) -> dict[str, np.ndarray]:
    """All shadows, in the order of their numbers."""
    if not parts:
        raise BadInput("there are no shadows to conclude from")
    arrays = [{name: tensor.cpu().numpy() for name, tensor in part.items()} for part in parts]
    units = arrays[0]["units"]
    if any(not np.array_equal(part["units"], units) for part in arrays):
        raise BadInput("the parts are of different pools: all must come from the same plan and rows")
    joined = {name: np.concatenate([part[name] for part in arrays]) for name in arrays[0] if name != "units"}
    order = np.argsort(joined["shadow"], kind="stable")
    if not np.array_equal(joined["shadow"][order], np.arange(plan.shadows)):
        raise BadInput(f"the plan has {plan.shadows} shadows, each once; the parts have {len(order)}, or others")
    return {"units": units} | {name: values[order] for name, values in joined.items()}


def signed_ranks(differences: Array) -> Array:
    """(n,) exact two-sided p-values of Wilcoxon's signed ranks (K, n): each pair's coin could have fallen otherwise."""
    moved = (differences != 0).any(axis=0)
    p = np.ones(differences.shape[1])
    if moved.any():
        _, found = wilcoxon(differences[:, moved], axis=0, method="exact")
        p[moved] = np.asarray(found, float)
    return p


def holm(ascending: Array, alpha: float) -> int:
    """How many of these p-values Holm's procedure rejects."""
    passed = ascending * np.arange(len(ascending), 0, -1) <= alpha
    return len(passed) if passed.all() else int(np.argmin(passed))


def guesses_of(persons: int) -> list[int]:
    """How many may be guessed: even numbers, two at least."""
    return sorted({max(2, round(share * persons) // 2 * 2) for share in SHARES})


def statement(plan: RecipePlan, before: Seen, after: Seen) -> str:
    """One paragraph for people who are no statisticians."""
    low, high = after.auc_ci95
    return (
        f"{plan.shadows} models were trained by this recipe, each on its own half of a pool of persons, and then made "
        f"to forget that half by {plan.method.name}. An attacker who may train as many models himself ranks a row "
        f"that was trained on and unlearned above one never seen with chance {after.auc:.3f} (95 % interval "
        f"{low:.3f} to {high:.3f}); without unlearning with {before.auc:.3f}, and a coin with 0.5. {_read(low, high)}"
    )


def _read(low: float, high: float) -> str:
    if low > 0.5:
        return "So traces of forgotten rows are left, and this attack finds them."
    if high < 0.5:
        return "So forgotten rows are told from unseen ones with the attack turned round, which is a trace as well."
    return "This attack did not find a trace; a smaller one than the interval allows for would go unnoticed."
