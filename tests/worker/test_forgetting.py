"""Every method forgets what it says that it forgets, and keeps the rest: on toys where retraining does, too.

A class: three clusters, of which the middle one goes. It lies between the others, so that even a method that only goes
on learning the rest (fine_tune, l1_sparse) gives its place away in time. By heart: labels that are noise.
A method that names classes has to forget the class; one of rows the class or what was learned by heart.
"""

from functools import cache

import pytest
import torch
from torch import nn

from service.domain.recipes import AdamW, Method, Mlp, Spec, Training, Vector
from tests.worker.conformance import METHODS, World, fitted, named
from tests.worker.conftest import rng
from worker.data import Rows, Split
from worker.inference import accuracy, losses
from worker.metrics import auc
from worker.training import build, train

# A toy's rates are not a paper's, so each method goes at the best of three paces, as in the benchmarks.
PACES: dict[str, dict[str, float]] = {
    "gentle": {"lr": 0.02, "epochs": 12, "max_epochs": 6, "passes": 12, "selection": 4, "dampening": 0.1},
    "brisk": {"lr": 0.1, "epochs": 20, "max_epochs": 10, "passes": 20, "selection": 2.5},
    "rough": {"lr": 0.5, "epochs": 30, "max_epochs": 15, "passes": 30, "selection": 1.5},
}
STUBBORN: dict[str, float] = {"passes": 40, "epochs": 40, "batch": 40, "alpha0": 0.5, "lr": 3e-3}


def clusters(n: int, seed: int) -> Rows:
    """Three clusters in a plane; one row in five is of the one between."""
    y = torch.tensor([0, 0, 2, 2, 1])[torch.arange(n) % 5]
    centres = torch.tensor([[-2.0, 0.0], [0.0, 1.0], [2.0, 0.0]])
    return Rows(centres[y] + 0.45 * torch.randn(n, 2, generator=rng(seed)), y)


@cache
def between() -> World:
    """A model that knows three clusters, and shall know two."""
    training = Training(epochs=60, batch=30, optimizer=AdamW(lr=0.02))
    spec = Spec(family=Mlp(hidden=(16,)), training=training, input=Vector(features=2), classes=3)
    seen = clusters(200, seed=1)
    return World(train(spec, seen), Split(seen.take(seen.y != 1), seen.take(seen.y == 1), clusters(120, seed=2)), spec)


def forgets_class(before: nn.Module, after: nn.Module, split: Split) -> bool:
    """It has less than half of the class right that it had, and nine in ten unseen rows of the others at least."""
    others = split.validation.take(split.validation.y != 1)
    return accuracy(after, others) > 0.9 and accuracy(after, split.forget) < accuracy(before, split.forget) / 2


def leak(model: nn.Module, split: Split) -> float:
    """How well losses tell the forget rows from unseen ones; a half is not at all."""
    return auc(-losses(model, split.forget).numpy(), -losses(model, split.validation).numpy())


def forgets_by_heart(before: nn.Module, after: nn.Module, split: Split) -> bool:
    """At least a third of what an attacker knew is gone, and the rest is still known."""
    gone = leak(before, split) - leak(after, split)
    return gone > (leak(before, split) - 0.5) / 3 and accuracy(after, split.retain) > 0.85


def class_forgotten(recipe: Method, world: World) -> bool:
    """At one pace at least."""
    brisk = (fitted(type(recipe), batch=30, **pace) for pace in PACES.values())
    return any(forgets_class(world.model, world.run(each).model, world.split) for each in brisk)


@pytest.fixture(scope="module")
def heart(original, split, spec) -> World:
    return World(original, split, spec)


def test_the_worlds_are_known_before(heart):
    world = between()

    assert accuracy(world.model, world.split.forget) > 0.9
    assert accuracy(world.model, world.split.retain) > 0.95
    assert leak(heart.model, heart.split) > 0.7


@pytest.mark.parametrize("recipe", METHODS, ids=named)
def test_what_a_method_serves_is_forgotten_and_the_rest_is_kept(recipe, heart):
    of_class = class_forgotten(recipe, between())
    stubborn = fitted(type(recipe), **STUBBORN)

    assert of_class or "classes" not in recipe.serves
    assert of_class or forgets_by_heart(heart.model, heart.run(stubborn).model, heart.split)


@pytest.mark.parametrize("target", ["mean", "class", "quantile"])
@pytest.mark.parametrize("mask", ["none", "and", "prob", "focus"])
def test_what_was_learned_by_heart_is_forgotten_under_every_target_and_mask(target, mask, heart):
    nabla_tau = next(type(recipe) for recipe in METHODS if recipe.name == "nabla_tau")

    after = heart.run(fitted(nabla_tau, **STUBBORN, target=target, mask={"name": mask})).model

    assert forgets_by_heart(heart.model, after, heart.split)


def test_a_method_that_does_nothing_would_be_noticed(heart):
    world = between()

    assert not forgets_class(world.model, world.model, world.split)
    assert not forgets_by_heart(heart.model, heart.model, heart.split)


def test_a_method_that_ruins_the_model_would_be_noticed(heart):
    for world, forgets in ((between(), forgets_class), (heart, forgets_by_heart)):
        assert world.spec
        assert not forgets(world.model, build(world.spec, rng()), world.split)


def test_retraining_is_what_the_others_are_measured_against(heart):
    for world, forgets in ((between(), forgets_class), (heart, forgets_by_heart)):
        assert world.spec
        assert forgets(world.model, train(world.spec, world.split.retain), world.split)
