"""The average gap against vectors, the four switches of augmentation, and that judging never sees an augmented row."""

import ast
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import astuple
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.modules.module import register_module_forward_pre_hook

from service.domain.policy import AuditPlan, Policy
from service.domain.recipes import (
    Augmentation,
    Cnn,
    CropFlip,
    Cutout,
    Descent,
    Image,
    Mixup,
    NablaTau,
    NoAugmentation,
    RandAugment,
    Retrain,
    Spec,
    Training,
    Trivial,
)
from service.errors import BadInput, Cancelled
from worker.auditing import AuditSets, audit
from worker.data import Rows, Split
from worker.inference import accuracy, logits, losses
from worker.jobs.material import Material, Plan
from worker.jobs.references import seeded
from worker.metrics import AverageGap, BothGaps, Performance, average_gap, relative_reduction
from worker.registry import method
from worker.resume import Snapshot
from worker.training import train
from worker.unlearning import unlearn

ROOT = Path(__file__).parents[2]
REFERENCE = Performance(5.24, 100, 94.26, 12.88)
RETAIN, FORGET, VALIDATION, HOLDOUT = 0.2, 0.4, 0.6, 0.8
AUGMENTED: list[Augmentation] = [CropFlip(), Cutout(), Trivial(), RandAugment(), Mixup()]
named = pytest.mark.parametrize("recipe", AUGMENTED, ids=lambda recipe: recipe.name)


# ---- the gap --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("model", "average", "gaps"),
    [
        (Performance(0.63, 99.88, 94.06, 2.70), 3.7775, [-4.61, -0.12, -0.20, -10.18]),
        (Performance(7.61, 99.67, 92.83, 37.36), 7.1525, [2.37, -0.33, -1.43, 24.48]),
        (Performance(2.85, 99.62, 93.93, 14.39), 1.1525, [-2.39, -0.38, -0.33, 1.51]),
    ],
)
def test_the_average_gap_is_of_four_distances_and_their_signs_are_kept(model, average, gaps):
    gap = average_gap(model, REFERENCE)

    assert gap.average == pytest.approx(average)
    assert list(astuple(gap.gaps)) == pytest.approx(gaps)


def test_a_retrained_model_has_no_gap_to_itself():
    assert average_gap(REFERENCE, REFERENCE) == AverageGap(0, Performance(0, 0, 0, 0))


def test_unlearning_accuracy_counts_the_forget_rows_that_are_missed():
    assert Performance.of(forget=0.75, retain=1, test=0.5, unseen=0.125) == Performance(25, 100, 50, 12.5)


def test_a_reduction_is_relative_to_the_base():
    base = average_gap(Performance(2.85, 99.62, 93.93, 14.39), REFERENCE)
    nothing = Performance(0, 0, 0, 0)

    assert relative_reduction(AverageGap(0.6901, nothing), base) == pytest.approx(0.4012, abs=5e-5)
    assert relative_reduction(AverageGap(2 * base.average, nothing), base) == pytest.approx(-1)
    with pytest.raises(BadInput, match="nothing to reduce"):
        relative_reduction(base, AverageGap(0, nothing))


def test_an_augmentation_that_only_helps_its_own_reference_is_seen_against_the_usual_one():
    model, same = Performance(10, 90, 80, 30), Performance(12, 90, 80, 30)

    both = BothGaps.of(model, same=same, baseline=REFERENCE)

    assert both.same.average == pytest.approx(0.5)
    assert both.baseline.average == pytest.approx((4.76 + 10 + 14.26 + 17.12) / 4)


# ---- the switches: a row is one level of grey all over, so black in it was put there by a crop ----------------------


def flat(level: float, n: int = 24) -> Rows:
    return Rows(torch.full((n, 1, 8, 8), level), torch.arange(n) % 2)


SPLIT = Split(flat(RETAIN), flat(FORGET, 12), flat(VALIDATION))


def recipe_of(augmentation: Augmentation | None = None) -> Spec:
    training = Training(epochs=2, batch=8, augmentation=augmentation or NoAugmentation())
    return Spec(family=Cnn(width=2), training=training, input=Image(channels=1, height=8, width=8), classes=2)


ONE_SIDED = {("fine_tune", "augment_forget"), ("l1_sparse", "augment_forget"), ("neg_grad", "augment_retain")}
of_references = pytest.mark.parametrize(
    ("switch", "of_original", "expected"),
    [
        pytest.param(None, None, set(), id="neither"),
        pytest.param(CropFlip(), None, {RETAIN}, id="switched on"),
        pytest.param(None, CropFlip(), {RETAIN}, id="as the original"),
        pytest.param(NoAugmentation(), CropFlip(), set(), id="switched off"),
    ],
)


@pytest.fixture(scope="module")
def original() -> nn.Module:
    return train(recipe_of(), SPLIT.retain)


@contextmanager
def fed() -> Iterator[list[Tensor]]:
    """All pictures that any model is given meanwhile."""
    seen: list[Tensor] = []

    def note(_: nn.Module, given: tuple[Any, ...]) -> None:
        if isinstance(given[0], Tensor) and given[0].shape[1:] == (1, 8, 8):
            seen.append(given[0].detach())

    handle = register_module_forward_pre_hook(note)
    try:
        yield seen
    finally:
        handle.remove()


def levels(seen: list[Tensor]) -> set[float]:
    """The levels of grey among the pictures."""
    return {round(level, 2) for level in torch.cat(seen).amax(dim=(1, 2, 3)).tolist()}


def cropped(seen: list[Tensor]) -> set[float]:
    """Those of them that are partly black."""
    pictures = torch.cat(seen)
    black = pictures[(pictures == 0).any(dim=3).any(dim=2).any(dim=1)]
    return levels([black]) if len(black) else set()


@pytest.mark.parametrize(("augmentation", "expected"), [(NoAugmentation(), set()), (CropFlip(), {RETAIN})])
def test_the_original_is_trained_as_its_recipe_says(augmentation, expected):
    with fed() as seen:
        train(recipe_of(augmentation), SPLIT.retain)

    assert cropped(seen) == expected


@of_references
def test_retraining_is_augmented_by_its_own_switch_or_as_the_original_was(original, switch, of_original, expected):
    spec = recipe_of(of_original)

    with fed() as seen:
        unlearn(original, SPLIT, Retrain(augmentation=switch), rng=torch.Generator(), spec=spec)

    assert cropped(seen) == expected
    assert FORGET not in levels(seen)


@of_references
def test_the_audits_references_are_augmented_by_their_own_switch(switch, of_original, expected):
    unused: Any = None
    policy = Policy(audit=AuditPlan(references=1, reference_augmentation=switch))
    plan = Plan(
        model=unused, dataset=unused, spec=recipe_of(of_original), policy=policy, kinds=set(), forget=[],
        forgotten=set(), splits=[], groups=[],
    )  # fmt: skip
    rows = Material(SPLIT.retain, SPLIT.forget, SPLIT.validation, flat(HOLDOUT))

    with fed() as seen:
        train(seeded(plan, 1), rows.retain)

    assert cropped(seen) == expected
    assert seeded(plan, 1).training.seed != seeded(plan, 2).training.seed != plan.spec.training.seed


@pytest.mark.parametrize(
    ("switches", "expected"),
    [
        ({}, set()),
        ({"augment_retain": CropFlip()}, {RETAIN}),
        ({"augment_forget": CropFlip()}, {FORGET}),
        ({"augment_retain": CropFlip(), "augment_forget": CropFlip()}, {RETAIN, FORGET}),
    ],
    ids=["neither", "retain", "forget", "both"],
)
def test_unlearning_augments_the_rows_of_each_switch_and_no_others(original, switches, expected):
    with fed() as seen:
        unlearn(original, SPLIT, NablaTau(batch=8, **switches), rng=torch.Generator())

    assert cropped(seen) == expected
    assert levels(seen) == {RETAIN, FORGET, VALIDATION}


@pytest.mark.parametrize("kind", [kind for kind in method.recipes() if issubclass(kind, Descent)])
@pytest.mark.parametrize(("switch", "level"), [("augment_retain", RETAIN), ("augment_forget", FORGET)])
def test_every_method_heeds_both_switches(original, kind, switch, level):
    recipe = kind.model_validate({"batch": 8, switch: CropFlip()})

    with fed() as seen:
        unlearn(original, SPLIT, recipe, rng=torch.Generator(), spec=recipe_of())

    assert cropped(seen) == (set() if (recipe.name, switch) in ONE_SIDED else {level})


@named
def test_a_training_that_is_taken_up_again_draws_the_same_augmentation(recipe, tmp_path):
    spec = recipe_of(recipe)
    rows = Rows(torch.rand(24, 1, 8, 8, generator=torch.Generator().manual_seed(0)), torch.arange(24) % 2)
    whole = train(spec, rows).state_dict()

    def stop(done: int, _: int) -> None:
        if done == 5:
            raise Cancelled("enough")

    with pytest.raises(Cancelled):
        train(spec, rows, on_step=stop, snapshot=Snapshot(tmp_path / "run", "one"))
    again = train(spec, rows, snapshot=Snapshot(tmp_path / "run", "one")).state_dict()

    assert all(torch.equal(again[name], whole[name]) for name in whole)


# ---- what is judged is judged as it is ------------------------------------------------------------------------------


@named
def test_a_fixed_model_answers_with_the_same_bits_whatever_the_switches(original, recipe):
    before, right = logits(original, SPLIT.forget), accuracy(original, SPLIT.forget)
    answers: list[Tensor] = []
    chosen = NablaTau(batch=8, augment_retain=recipe, augment_forget=recipe)

    def look(*_: int) -> None:
        answers.append(logits(original, SPLIT.forget))

    unlearn(original, SPLIT, chosen, rng=torch.Generator(), on_step=look)
    unlearn(original, SPLIT, Retrain(augmentation=recipe), rng=torch.Generator(), spec=recipe_of(), on_step=look)

    assert len(answers) > 10
    assert all(torch.equal(answer, before) for answer in answers)
    assert accuracy(original, SPLIT.forget) == right


@named
def test_an_adaptive_target_is_taken_from_rows_as_they_are(original, recipe):
    chosen = NablaTau(target="mean", batch=8, augment_retain=recipe, augment_forget=recipe)

    done = unlearn(original, SPLIT, chosen, rng=torch.Generator())

    assert done.log[0]["tau"] == losses(original, SPLIT.validation).mean().item()


def test_an_audit_looks_at_rows_as_they_are(original):
    sets = AuditSets(flat(FORGET), flat(HOLDOUT), flat(RETAIN))
    plan = AuditPlan(reference_augmentation=CropFlip(), permutations=99, bootstrap=99)

    with fed() as seen:
        report = audit(original, original, sets, plan, references=[original], spec=recipe_of(CropFlip()))

    assert report.relearning
    assert cropped(seen) == set()
    assert levels(seen) == {FORGET, HOLDOUT, RETAIN}


def imported(path: Path) -> set[str]:
    """The modules that a file names in its imports, inside functions as well."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def own(module: str) -> Path | None:
    """The file of a module of the worker; None where it is another's, or a name inside a module."""
    path = ROOT / Path(*module.split("."))
    places = (path.with_suffix(".py"), path / "__init__.py") if module.startswith("worker.") else ()
    return next((place for place in places if place.exists()), None)


def reached(path: Path) -> set[str]:
    """All modules that a file imports, directly or by way of others of the worker."""
    found: set[str] = set()
    waiting = [path]
    while waiting:
        fresh = imported(waiting.pop()) - found
        found |= fresh
        waiting += [file for file in map(own, fresh) if file]
    return found


def augmenting(names: set[str]) -> set[str]:
    """Those of them that augment."""
    return {name for name in names if name.startswith(("worker.augment", "worker.registry.augmentation", "kornia"))}


def test_the_search_finds_who_augments():
    assert augmenting(imported(ROOT / "worker/training.py")) == {"worker.augmenting"}
    assert "worker.augmenting" in augmenting(reached(ROOT / "worker/methods/nabla_tau.py"))


TRAINS = "relearning.py"      # on retain rows; what it feeds is looked at above
ATTACKS = [path for path in sorted((ROOT / "worker/attacks").glob("*.py")) if path.name != TRAINS]
JUDGES = [ROOT / "worker/inference.py", ROOT / "worker/auditing.py", *ATTACKS]


@pytest.mark.parametrize("path", JUDGES, ids=lambda path: path.stem)
def test_whoever_judges_cannot_reach_an_augmentation(path):
    assert augmenting(reached(path)) == set()


@pytest.mark.parametrize("path", sorted((ROOT / "worker/bench").glob("*.py")), ids=lambda path: path.stem)
def test_benchmarks_leave_augmenting_to_training_and_unlearning(path):
    assert augmenting(imported(path)) == set()
