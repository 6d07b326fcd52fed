"""Retraining is training on the retain rows, and nothing else."""

import pytest
import torch

from service.domain.recipes import Retrain, Vector
from service.errors import BadInput
from tests.worker.conformance import equal, of_family, state
from tests.worker.conftest import rng
from worker.training import train
from worker.unlearning import unlearn


def test_retraining_is_training_on_the_retain_rows():
    world = of_family()
    assert world.spec

    result = world.run(Retrain())

    assert equal(state(result.model), state(train(world.spec, world.split.retain)))


def test_the_weights_at_hand_have_no_say():
    world, other = of_family(), of_family()
    with torch.no_grad():
        for w in other.model.parameters():
            w.add_(1)

    assert equal(state(world.run(Retrain()).model), state(other.run(Retrain()).model))


def test_retraining_needs_the_recipe():
    world = of_family()

    with pytest.raises(BadInput, match="recipe"):
        unlearn(world.model, world.split, Retrain(), rng=rng())


def test_retraining_refuses_another_architectures_recipe():
    world = of_family()
    assert world.spec
    other = world.spec.model_copy(update={"input": Vector(features=13)})

    with pytest.raises(BadInput, match="architecture"):
        unlearn(world.model, world.split, Retrain(), rng=rng(), spec=other)
