"""What the shadows of a recipe say together: the report of U-LiRA."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from hashlib import sha256
from typing import Final

import numpy as np
import rfc8785
from scipy.stats import t as student
from scipy.stats import wilcoxon
from torch import Tensor

from service.domain.recipe_audits import RecipePlan, recipe_sha256
from service.domain.recipes import Spec
from service.domain.report import EpsilonBound, Klom, PerExample, RecipeReport, Seen
from service.errors import BadInput
from worker import epsilon, provenance
from worker.klom import klom
from worker.lira import Mask, fits, lira
from worker.metrics import auc
from worker.signals import Array, Labels
from worker.statistics import Interval

SHARES: Final = (0.02, 0.05, 0.1, 0.2, 0.5, 1.0)    # of the persons that are guessed; which one, half the pairs decide
QUANTILES: Final = (0.0, 0.05, 0.25, 0.5, 0.75, 0.95, 1.0)
FOR_TPR: Final = 1_000      # rows never seen, over models: ten false positives at 1 %
FOR_KLOM: Final = 32        # models on a side; its null bias is subtracted, but of fewer it is all there is
GROUPS: Final = 16          # of the jackknife
FEWEST: Final = 3           # pairs that can score each other
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

    @cached_property
    def auc(self) -> float:
        """Mean over the shadows of the AUC of those rows that one had against those that it had not."""
        return float(np.mean([auc(s[had], s[~had]) for s, had in zip(self.scores, self.included, strict=True)]))

    def of(self, pairs: Labels) -> "Shadows":
        """These pairs of shadows alone."""
        numbers = np.stack([2 * pairs, 2 * pairs + 1], axis=1).ravel()
        return Shadows(self.plan, self.phi[numbers], self.included[numbers], self.units)

    @property
    def seen(self) -> Seen:
        """All numbers of the attack."""
        return Seen(
            auc=self.auc, auc_ci95=self._interval(),
            balanced_accuracy=float(((self.scores > 0) == self.included).mean()),   # a pair has as many on both sides
            tpr_at_1=self._tpr(), per_example=self._per_example(), epsilon=self._epsilon(), klom=self._klom(),
        )

    def _interval(self) -> Interval:
        """Jackknife over groups of pairs, with the attack fitted anew each time.

        Shadows score each other, so their AUCs are no independent draws: as if they were, the interval is too short by
        a factor of 1.2 to 1.6 (simulated). Where nothing is to be seen this one is too long by about √2.
        """
        pairs = np.arange(len(self.phi) // 2)
        groups = min(GROUPS, len(pairs))
        aucs = np.array([self.of(pairs[pairs % groups != g]).auc for g in range(groups)])
        se = float(np.sqrt((groups - 1) / groups * ((aucs - aucs.mean()) ** 2).sum()))
        half = float(student.ppf(0.975, groups - 1)) * se
        return max(0.0, self.auc - half), min(1.0, self.auc + half)

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
        """Many one-run audits as one: a person's coin in a shadow is a canary's, and one shadow of a pair is used.

        Half of the pairs say how many are guessed, and are all that the other half's scores are made from: scores that
        shadows give each other know each other's coins, and would make the guesses dependent.
        """
        pairs = np.arange(len(self.phi) // 2)
        known, tested = self.of(pairs[: max(FEWEST, len(pairs) // 2)]), self.of(pairs[max(FEWEST, len(pairs) // 2) :])
        inside, outside = fits(known.phi, known.included, self.plan.variance)
        scores = inside.log_density(tested.phi) - outside.log_density(tested.phi)
        best = max(self._choices, key=lambda r: known._guessed(known.scores, r).value)
        return tested._guessed(scores, best).model_copy(update={"threshold_policy": "split_half"})

    @property
    def _choices(self) -> list[int]:
        """How many may be guessed: even numbers, two at least."""
        persons = int(self.units.max()) + 1
        return sorted({max(2, round(share * persons) // 2 * 2) for share in SHARES})

    def _guessed(self, scores: Array, guesses: int) -> EpsilonBound:
        """The first of each pair; a person's rows are taken together."""
        _, first_row = np.unique(self.units, return_index=True)
        right = sum(
            epsilon.correct(np.bincount(self.units, of_rows).astype(float), had[first_row], guesses)
            for of_rows, had in zip(scores[::2], self.included[::2], strict=True)
        )
        runs = len(scores) // 2
        return epsilon.bound(
            runs * len(first_row), runs * guesses, right, alpha=self.plan.alpha, delta=self.plan.delta
        )

    def _klom(self) -> Klom | None:
        inside, outside = self.sides
        return klom(inside, outside, np.random.default_rng(self.plan.seed)) if len(inside) >= FOR_KLOM else None


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
