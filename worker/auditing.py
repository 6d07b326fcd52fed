"""Attack a model before and after, beside retrained ones, and say in three values what that shows.

The plan is hashed before anything is scored. Higher scores mean "member"; a test is two-sided, because a row that the
model knows too little about stands out as well. The rungs of the plan are attacks of the registry; the verdict rests on
the signals of rung 1, and of rung 2 where it is planned. The headline is the signal `loss`.
"""

from collections.abc import Sequence
from functools import reduce
from hashlib import sha256
from operator import or_

import numpy as np
import rfc8785
from torch import nn

from service.domain.policy import AuditPlan
from service.domain.recipes import Reference, Rung, Spec
from service.domain.report import (
    Accuracy,
    AuditReport,
    Claim,
    Cost,
    ForgetSet,
    Found,
    Heldout,
    PopulationZ,
    RecipeEvidence,
    References,
    Utility,
)
from service.errors import BadInput
from worker import provenance
from worker.case import MIN_PERSONS, AuditSets, Case
from worker.lineage import Lineage, subject
from worker.metrics import correct
from worker.optimise import OnStep, Progress, ignore
from worker.overlap import refuse_shared
from worker.registry import attack as attacks
from worker.sides import Side, ask
from worker.tasks import task_of
from worker.utility import accuracy, utility
from worker.verdict import judge
from worker.weights import digest

__all__ = ["AuditReport", "AuditSets", "audit"]


def audit(
    before: nn.Module,
    after: nn.Module,
    sets: AuditSets,
    plan: AuditPlan,
    *,
    references: Sequence[nn.Module] = (),
    spec: Spec | None = None,
    lineage: Lineage | None = None,
    recipe_evidence: RecipeEvidence | None = None,
    claim: Claim = "approximate",
    on_step: OnStep = ignore,
) -> AuditReport:
    """Compare what an attacker sees in two models; none of the arguments is changed.

    Args:
        references: models trained without the forget rows; with none, an AUC of ½ is assumed.
        spec: the recipe of the model before; rungs that train need it.
        lineage: what is known of where the models come from.
        recipe_evidence: what U-LiRA found about the unlearning recipe.
        on_step: is told the steps done and in all; what it raises ends the audit.
    Raises:
        BadInput: the forget or the retain set is empty, labels do not fit, a model answers with NaN, the holdout
            shares rows with training, or there are fewer references than a rung needs.
    """
    digested = sha256(rfc8785.dumps(plan.model_dump(mode="json"))).hexdigest()
    models = [before, after, *references]
    _complete(sets, plan, len(references))
    case = _case(models, sets, plan, spec, on_step)
    return _report(case, digested, lineage or Lineage(), claim, recipe_evidence)


def _complete(sets: AuditSets, plan: AuditPlan, k: int) -> None:
    empty = [name for name, rows in (("forget", sets.forget), ("retain", sets.retain)) if not len(rows)]
    if empty:
        raise BadInput(f"these sets of the audit have no rows: {', '.join(empty)}")
    if (task := task_of(sets.forget.y)) != "classification":
        raise BadInput(f"the attacks are on classifications, and these labels are those of a {task}")
    for rung in plan.rungs:
        if rung.needs > k:
            raise BadInput(f"the rung {rung.name} needs at least {rung.needs} retrained models; there are {k}")
        if isinstance(rung, Reference) and sets.population is None:
            raise BadInput("the rung reference needs population rows that no model saw and that are not the holdout")
    refuse_shared(sets)


def _case(models: Sequence[nn.Module], sets: AuditSets, plan: AuditPlan, spec: Spec | None, on_step: OnStep) -> Case:
    parts = [sets.forget, sets.holdout, sets.retain, *([] if sets.population is None else [sets.population])]
    progress = Progress(len(parts) * len(models) + len(plan.rungs) + 1, on_step)
    sides = [ask(models, rows, progress) for rows in parts]
    forget, holdout, retain, *z = sides
    return Case(plan, models, sets, forget, holdout, retain, progress, z[0] if z else None, spec)


def _report(
    case: Case, digested: str, lineage: Lineage, claim: Claim, recipe_evidence: RecipeEvidence | None
) -> AuditReport:
    useful, facts, known = _utility(case), _heldout(case), _references(case)
    about = subject(case, lineage)
    case.progress.tick()
    found = reduce(or_, [_climbed(case, rung) for rung in case.plan.rungs], Found())
    return AuditReport.model_validate(
        found.parts()
        | {
            "plan": case.plan,
            "plan_sha256": digested,
            "claim": claim,
            "subject": about,
            "forget_set": _forget_set(case.forget),
            "heldout": facts,
            "population_z": None if case.population is None else PopulationZ(n=len(case.population)),
            "references": known,
            "null_basis": "paired_reference" if case.k else "assumed",
            "utility": useful,
            "recipe_evidence": recipe_evidence,
            "cost": _cost(case, found),
            "environment": provenance.versions(),
            "verdict": judge(case.plan, found, facts, useful, references=known, claim=claim),
        }
    )


def _climbed(case: Case, rung: Rung) -> Found:
    found = attacks.find(rung)(case, rung)
    case.progress.tick()
    return found


def _references(case: Case) -> References:
    return References(
        k=case.k, kind="retrained" if case.k else "assumed_iid", model_sha256=tuple(map(digest, case.models[2:]))
    )


def _heldout(case: Case) -> Heldout:
    f, h = case.matched
    return Heldout(
        n=len(case.holdout),
        n_matched=len(h),
        n_groups_matched=h.persons(),
        forget_rows_unmatched=len(case.forget) - len(f),
    )


def _forget_set(forget: Side) -> ForgetSet:
    classes, counts = np.unique(forget.y, return_counts=True)
    known = {str(c): int(n) for c, n in zip(classes, counts, strict=True)}
    few = forget.persons() < MIN_PERSONS
    return ForgetSet(n=len(forget), n_groups=forget.persons(), class_histogram=None if few else known)


def _cost(case: Case, found: Found) -> Cost:
    sides = [case.forget, case.holdout, case.retain, *([] if case.population is None else [case.population])]
    steps = sum(r.steps[-1] * len(r.seeds) * (1 + r.n_references) for r in found.relearning)
    samples = len(case.models) * sum(map(len, sides))
    return Cost(n_models_trained=case.k, n_forward_samples=samples, n_training_steps=steps)


def _utility(case: Case) -> Utility:
    taught = case.holdout.of(case.retain.y)     # a class forgotten as a whole is no loss
    return utility(
        _accuracy(case.retain),
        _accuracy(case.forget),
        _accuracy(taught) if len(taught) else None,
        margin=case.plan.utility_margin,
        retain_margin=case.plan.retain_margin,
        k=case.k,
    )


def _accuracy(side: Side) -> Accuracy:
    before, after, *references = (correct(z, side.y) for z in side.logits)
    return accuracy((before, after, references), side.groups)
