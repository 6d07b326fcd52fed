"""Attack a model before and after, beside retrained ones, and say in three values what that shows.

The plan is hashed before anything is scored. Higher scores mean "member"; a test is two-sided, because a row that the
model knows too little about stands out as well. The headline is the signal `loss`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Final

import numpy as np
import rfc8785
import torch
from torch import nn

from service.domain.policy import AuditPlan
from service.errors import BadInput
from worker.attacks.population import AFTER, BEFORE, Population
from worker.data import Rows
from worker.findings import Accuracy, AuditReport, Claim, ForgetSet, Found, Heldout, Histogram, References, Utility
from worker.inference import logits
from worker.metrics import correct
from worker.optimise import OnStep, Progress, ignore
from worker.resampling import pool
from worker.signals import Array, Labels, loss, scores
from worker.utility import accuracy, utility
from worker.verdict import MIN_HOLDOUT, judge

__all__ = ["AuditReport", "AuditSets", "audit"]

MIN_PERSONS: Final = 5      # fewer would make a histogram say something about one of them
BINS: Final = 24


@dataclass(frozen=True)
class AuditSets:
    """The rows of an audit; no model has seen the holdout, and no method may."""

    forget: Rows
    holdout: Rows
    retain: Rows


@dataclass(frozen=True)
class Side:
    """One set as arrays, with every model's logits, in the order before, after, references."""

    y: Labels
    groups: Labels | None
    logits: list[Array]

    def take(self, index: Labels) -> "Side":
        """The rows at these positions."""
        groups = None if self.groups is None else self.groups[index]
        return Side(self.y[index], groups, [z[index] for z in self.logits])

    def persons(self) -> int:
        """How many; a row without a person counts for one."""
        return len(self.y) if self.groups is None else len(np.unique(self.groups))


def audit(
    before: nn.Module,
    after: nn.Module,
    sets: AuditSets,
    plan: AuditPlan,
    *,
    references: Sequence[nn.Module] = (),
    claim: Claim = "approximate",
    on_step: OnStep = ignore,
) -> AuditReport:
    """Compare what an attacker sees in two models; none of the arguments is changed.

    Args:
        references: models trained without the forget rows; with none, an AUC of ½ is assumed.
        on_step: is told the steps done and in all; what it raises ends the audit.
    Raises:
        BadInput: the forget or the retain set is empty, labels do not fit, or a model answers with NaN.
    """
    digest = sha256(rfc8785.dumps(plan.model_dump(mode="json"))).hexdigest()
    _complete(sets)
    models = [before, after, *references]
    progress = Progress(3 * len(models) + 1, on_step)
    sides = [_ask(models, rows, progress) for rows in (sets.forget, sets.holdout, sets.retain)]
    report = _report(plan, digest, claim, sides)
    progress.tick()
    return report


def _complete(sets: AuditSets) -> None:
    empty = [name for name, rows in (("forget", sets.forget), ("retain", sets.retain)) if not len(rows)]
    if empty:
        raise BadInput(f"these sets of the audit have no rows: {', '.join(empty)}")


def _ask(models: Sequence[nn.Module], rows: Rows, progress: Progress) -> Side:
    groups = None if rows.groups is None else rows.groups.cpu().numpy()
    answers: list[Array] = []
    for model in models:
        answers.append(_logits(model, rows))
        progress.tick()
    return Side(rows.y.cpu().numpy(), groups, answers)


def _logits(model: nn.Module, rows: Rows) -> Array:
    """float64 (n, K); a model without weights is asked where the rows are."""
    device = next((w.device for w in model.parameters()), rows.x.device)
    z = logits(model, rows.to(device)).to("cpu", torch.float64).numpy()
    if not np.isfinite(z).all():
        raise BadInput(f"a model answers with NaN or infinity on {int((~np.isfinite(z)).any(axis=1).sum())} rows")
    return z


def _report(plan: AuditPlan, digest: str, claim: Claim, sides: list[Side]) -> AuditReport:
    forget, holdout, _ = sides
    k = len(forget.logits) - 2
    useful, facts = _utility(plan, sides), _heldout(forget, holdout)
    known = References(k=k, kind="retrained" if k else "assumed_iid")
    population = _population(plan, forget, holdout) if facts.n_groups_matched >= MIN_HOLDOUT else None
    found = _found(population)
    return AuditReport(
        plan=plan,
        plan_sha256=digest,
        claim=claim,
        forget_set=_forget_set(forget),
        heldout=facts,
        references=known,
        null_basis="paired_reference" if k else "assumed",
        results=found.results,
        max_statistic=None if population is None else population.max_statistic(),
        controls=found.controls,
        utility=useful,
        power=found.power,
        loss_histogram=_histogram(forget, holdout) if population and forget.persons() >= MIN_PERSONS else None,
        verdict=judge(plan, found, facts, useful, references=known, claim=claim),
    )


def _found(attack: Population | None) -> Found:
    if attack is None:
        return Found()
    return Found(attack.results(), attack.controls(), attack.power())


def _matched(forget: Side, holdout: Side) -> tuple[Side, Side]:
    """The rows whose class is on both sides."""
    return (
        forget.take(np.flatnonzero(np.isin(forget.y, holdout.y))),
        holdout.take(np.flatnonzero(np.isin(holdout.y, forget.y))),
    )


def _heldout(forget: Side, holdout: Side) -> Heldout:
    f, h = _matched(forget, holdout)
    return Heldout(
        n=len(holdout.y),
        n_matched=len(h.y),
        n_groups_matched=h.persons(),
        forget_rows_unmatched=len(forget.y) - len(f.y),
    )


def _forget_set(forget: Side) -> ForgetSet:
    classes, counts = np.unique(forget.y, return_counts=True)
    known = {str(c): int(n) for c, n in zip(classes, counts, strict=True)}
    few = forget.persons() < MIN_PERSONS
    return ForgetSet(n=len(forget.y), n_groups=forget.persons(), class_histogram=None if few else known)


def _population(plan: AuditPlan, forget: Side, holdout: Side) -> Population:
    f, h = _matched(forget, holdout)
    y = np.concatenate([f.y, h.y])
    pooled = [np.concatenate(pair) for pair in zip(f.logits, h.logits, strict=True)]
    signed = [list(scores(z, y, plan.signals).values()) for z in pooled]
    return Population(plan, pool((f.y, h.y), (f.groups, h.groups)), np.array(signed))


def _histogram(forget: Side, holdout: Side) -> Histogram:
    """Of the loss, on one scale for all; its last bin takes what lies beyond 99 %."""
    f, h = _matched(forget, holdout)
    losses = [loss(side.logits[model], side.y) for model in (BEFORE, AFTER) for side in (f, h)]
    edges = np.linspace(0, max(float(np.quantile(np.concatenate(losses), 0.99)), 1e-6), BINS + 1)
    weights = pool((f.y, h.y), (None, None)).balance[len(f.y) :]
    f_before, h_before, f_after, h_after = (np.minimum(values, edges[-1]) for values in losses)
    return Histogram(
        edges=tuple(edges),
        forget_before=tuple(np.histogram(f_before, edges)[0]),
        forget_after=tuple(np.histogram(f_after, edges)[0]),
        holdout_before=tuple(np.histogram(h_before, edges, weights=weights)[0]),
        holdout_after=tuple(np.histogram(h_after, edges, weights=weights)[0]),
    )


def _utility(plan: AuditPlan, sides: list[Side]) -> Utility:
    forget, holdout, retain = sides
    taught = holdout.take(np.flatnonzero(np.isin(holdout.y, retain.y)))    # a class forgotten as a whole is no loss
    return utility(
        _accuracy(retain),
        _accuracy(forget),
        _accuracy(taught) if len(taught.y) else None,
        margin=plan.utility_margin,
        retain_margin=plan.retain_margin,
        k=len(forget.logits) - 2,
    )


def _accuracy(side: Side) -> Accuracy:
    before, after, *references = (correct(z, side.y) for z in side.logits)
    return accuracy((before, after, references), side.groups)
