"""Relearning: what a model regains from retain rows alone, measured on models of which it is known."""

import copy

import numpy as np
import pytest
import torch
from torch import nn

from service.domain.policy import AuditPlan
from service.domain.recipes import Mlp, Population, Relearning, Sgd, Spec, Training, Vector
from tests.worker.audit_cases import QUICK, Cases
from worker.attacks import relearning as attack
from worker.auditing import AuditSets, audit
from worker.checkpoint import digest
from worker.data import Rows
from worker.inference import accuracy
from worker.training import train

SHORT = Relearning(steps=20, looks=4, seeds=2)


def plan(**kw) -> AuditPlan:
    return QUICK.model_copy(update={"rungs": (Population(conventions=False), SHORT.model_copy(update=kw))})


def watched(models, sets, spec, **kw):
    return audit(models[0], models[1], sets, plan(**kw), references=models[2:], spec=spec)


@pytest.fixture(scope="module")
def sets(split) -> AuditSets:
    return AuditSets(split.forget, split.validation, split.retain)


@pytest.fixture(scope="module")
def hidden(original) -> nn.Module:
    """The original whose last layer was turned a little: what it knew is still in the layers below."""
    model = copy.deepcopy(original)
    with torch.no_grad():
        last = [m for m in model.modules() if isinstance(m, nn.Linear)][-1]
        last.weight.mul_(-0.05)
    return model


@pytest.fixture(scope="module")
def retrained(spec, split) -> nn.Module:
    return train(spec.seeded(7), split.retain)


def test_a_model_that_only_hides_regains_more_than_a_retrained_one(sets, spec, original, hidden, retrained):
    report = watched([original, hidden, retrained], sets, spec, steps=200, lr=0.01)

    found = report.relearning[0]
    assert found.regained > found.regained_reference + 0.1
    assert found.excess == pytest.approx(found.regained - found.regained_reference, abs=2e-6)
    assert found.excess_ci95[0] > 0


def test_another_retrained_model_regains_no_more_than_the_first(sets, spec, original, retrained, split):
    held_out = train(spec.seeded(8), split.retain)

    found = watched([original, held_out, retrained], sets, spec).relearning[0]

    assert found.excess_ci95[0] <= 0 <= found.excess_ci95[1]


def test_no_forget_row_is_trained_on():
    cases = Cases(n=40, m=120, r=60)        # a table has weights of its own for each row
    before, after = cases.model(2.0), cases.model()

    found = watched([before, after], cases.sets, _spec(), lr=0.5).relearning[0]

    assert found.regained == 0
    assert len(set(found.forget_acc_curve_unlearned)) == 1
    assert len(set(found.auc_curve_unlearned)) == 1


def test_the_curves_are_those_of_a_loop_written_out(sets, original, hidden, split):
    one_seed = watched([original, hidden], sets, _spec(Sgd(lr=0.5, momentum=0)), seeds=1, looks=2).relearning[0]

    model, rng = copy.deepcopy(hidden), torch.Generator().manual_seed(one_seed.seeds[0])
    curve = [accuracy(model, split.forget)]
    order, sizes = [], [len(split.retain) // 7 + (i < len(split.retain) % 7) for i in range(7)]
    for step in range(20):
        if not order:
            order = list(torch.randperm(len(split.retain), generator=rng).split(sizes))
        rows = split.retain.take(order.pop(0))
        model.zero_grad()
        nn.functional.cross_entropy(model(rows.x), rows.y).backward()
        with torch.no_grad():
            for w in model.parameters():
                w -= 0.05 * w.grad
        curve += [accuracy(model, split.forget)] if step in (9, 19) else []

    assert one_seed.steps == (0, 10, 20)
    assert one_seed.lr == 0.05
    assert one_seed.forget_acc_curve_unlearned == pytest.approx(curve, abs=1e-6)


def test_the_same_plan_gives_the_same_numbers_and_another_seed_others(sets, spec, original, hidden):
    first, again = (watched([original, hidden], sets, spec, lr=0.01).relearning for _ in range(2))
    other = audit(original, hidden, sets, plan(lr=0.01).model_copy(update={"seed": 1}), spec=spec).relearning

    assert first == again
    assert first[0].seeds != other[0].seeds


def test_the_models_stay_as_they_are(sets, spec, original, hidden, retrained):
    models = [original, hidden, retrained]
    bits, state = [digest(m) for m in models], torch.get_rng_state()

    watched(models, sets, spec)

    assert [digest(m) for m in models] == bits
    assert [m.training for m in models] == [False] * 3
    assert torch.equal(torch.get_rng_state(), state)
    assert all(w.grad is None for w in hidden.parameters())


def test_it_can_be_stopped_within_the_rung(sets, spec, original, hidden):
    seen = []

    def stop(done, total):
        seen.append((done, total))
        if seen.count((done, total)) > 5:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        audit(original, hidden, sets, plan(), spec=spec, on_step=stop)

    assert seen[-1][0] < seen[-1][1]


def test_only_as_many_references_go_along_as_the_plan_says(sets, spec, original, hidden, retrained):
    models = [original, hidden, retrained, retrained]
    report = watched(models, sets, spec)
    none, both = (watched(models, sets, spec, references=n).relearning[0] for n in (0, 2))

    assert report.relearning[0].n_references == 1
    assert report.cost.n_training_steps == 2 * 2 * 20
    assert none.excess is None
    assert none.auc_curve_reference is None
    assert both.n_references == 2
    assert both.forget_acc_curve_reference == report.relearning[0].forget_acc_curve_reference   # the same model twice


def test_without_a_recipe_or_a_rate_it_is_skipped_and_said(sets, original, hidden):
    report = watched([original, hidden], sets, None)

    assert report.relearning == ()
    assert [each.rung for each in report.skipped] == ["relearning"]


def test_a_training_that_runs_into_nan_is_said_and_gives_no_number(sets, original):
    report = watched([original, Sharp()], sets, _spec(Sgd(lr=1)))

    assert report.relearning == ()
    assert "not finite" in report.skipped[0].reason


def test_many_rows_are_looked_at_in_part_and_classes_without_holdout_have_no_auc(sets, spec, original, hidden, split):
    here, elsewhere = (split.validation.take(split.validation.y == y) for y in (0, 1))
    only = AuditSets(split.forget.take(split.forget.y == 0), elsewhere, split.retain)

    found = watched([original, hidden], only, spec).relearning[0]

    assert found.auc_curve_unlearned == ()
    assert len(found.forget_acc_curve_unlearned) == 5
    assert len(here)
    assert attack._some(5_000, np.random.default_rng(0)).size == attack.MOST


def _spec(optimizer=None) -> Spec:
    recipe = Training(batch=32) if optimizer is None else Training(batch=32, optimizer=optimizer)
    return Spec(family=Mlp(hidden=(64,)), training=recipe, input=Vector(features=12), classes=2)


class Sharp(nn.Module):
    """Answers are finite, and the first step is not."""

    def __init__(self):
        super().__init__()
        self.edge = nn.Parameter(torch.zeros(2))

    def forward(self, x):
        return x[:, :2] + self.edge.abs().sqrt()


def test_rows_of_one_person_have_no_interval(spec, original, hidden, retrained, split):
    one = Rows(split.forget.x, split.forget.y, torch.zeros(len(split.forget), dtype=torch.long))
    unseen = split.validation

    found = watched([original, hidden, retrained], AuditSets(one, unseen, split.retain), spec).relearning[0]

    assert found.excess is not None
    assert found.excess_ci95 is None
