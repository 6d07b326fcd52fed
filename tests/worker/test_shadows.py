"""Models trained at once are those that the production trainer makes one after another."""

import pytest
import torch

from service.domain.recipes import AdamW, Cnn, CropFlip, Image, Logistic, Mlp, Sgd, Spec, Training, Vector
from service.errors import BadInput, Cancelled, Diverged
from worker.data import Rows
from worker.shadows import Shadow, one_after_another, shadows, stackable, together
from worker.training import train


def labelled(n=150, seed=0):
    x = torch.randn(n, 6, generator=torch.Generator().manual_seed(seed))
    return Rows(x, (x[:, 0] > 0).long() + (x[:, 1] > 1).long())


def recipe(family=None, **training):
    return Spec(
        family=family or Mlp(hidden=(16, 8)), training=Training(**({"epochs": 5, "batch": 16} | training)),
        input=Vector(features=6), classes=3,
    )


def unequal(n=150, N=5):
    """Subsets of 100, 111 … rows: epochs of 7, 7, 8, 9, 9 steps, and batches of unequal size."""
    g = torch.Generator().manual_seed(1)
    return [Shadow(torch.randperm(n, generator=g)[: 100 + 11 * i].sort().values, seed=10 + i) for i in range(N)]


def alike(one, other):
    return all(torch.allclose(w, other.state_dict()[name], atol=2e-5) for name, w in one.state_dict().items())


@pytest.mark.parametrize("family", [Logistic(), Mlp(hidden=(16, 8))])
@pytest.mark.parametrize("optimizer", [Sgd(lr=0.05), AdamW(lr=3e-3)])
@pytest.mark.parametrize("schedule", ["constant", "linear", "cosine"])
def test_each_is_the_model_that_the_trainer_makes_alone(family, optimizer, schedule):
    spec, rows = recipe(family, optimizer=optimizer, schedule=schedule), labelled()
    each = unequal()

    made = together(spec, rows, each)

    for model, one in zip(made, each, strict=True):
        assert alike(model, train(spec.seeded(one.seed), rows.take(one.rows)))
        assert not model.training


def test_models_of_other_seeds_and_rows_differ():
    spec, rows = recipe(), labelled()
    first, second = torch.arange(100), torch.arange(50, 150)

    made = together(spec, rows, [Shadow(first, 1), Shadow(first, 2), Shadow(second, 1)])

    assert not alike(made[0], made[1])
    assert not alike(made[0], made[2])


def test_the_bits_depend_on_nothing_else():
    spec, rows, each = recipe(), labelled(), unequal()
    torch.manual_seed(1)
    one = together(spec, rows, each)
    torch.manual_seed(2)
    same = together(spec, rows, each)

    for a, b in zip(one, same, strict=True):
        assert all(torch.equal(w, b.state_dict()[name]) for name, w in a.state_dict().items())


def test_threads_are_given_back():
    before = torch.get_num_threads()

    together(recipe(epochs=1), labelled(), unequal())

    assert torch.get_num_threads() == before


def test_convolutions_are_trained_one_after_another():
    x = torch.randint(0, 256, (24, 1, 8, 8), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    rows = Rows(x, torch.arange(24) % 3)
    spec = Spec(
        family=Cnn(width=2), training=Training(epochs=1, batch=8), classes=3,
        input=Image(channels=1, height=8, width=8),
    )
    each = [Shadow(torch.arange(16), 0), Shadow(torch.arange(8, 24), 1)]

    made = shadows(spec, rows, each)

    assert not stackable(spec, rows)
    assert torch.equal(made[1].head.weight, train(spec.seeded(1), rows.take(each[1].rows)).head.weight)
    assert alike(together(spec, rows, each)[1], made[1])     # it could be done; it is only slower


def test_augmented_rows_are_left_to_the_trainer():
    assert stackable(recipe(), labelled())
    assert not stackable(recipe(augmentation=CropFlip()), labelled())


@pytest.mark.parametrize("way", [together, one_after_another])
def test_whoever_watches_is_told_and_may_stop(way):
    told = []
    way(recipe(), labelled(), unequal(), on_step=lambda *step: told.append(step))

    assert told[-1] == (5, 5)
    assert told == sorted(told)

    def stop(*_):
        raise Cancelled("stop")

    with pytest.raises(Cancelled):
        way(recipe(epochs=10_000), labelled(), unequal(), on_step=stop)


def test_a_training_that_breaks_is_told():
    rows = labelled()
    with pytest.raises(Diverged):
        together(recipe(optimizer=Sgd(lr=10.0), epochs=3), Rows(rows.x * 1e12, rows.y), unequal())


def test_rows_that_do_not_fit_are_refused():
    rows = labelled()
    with pytest.raises(BadInput, match="do not fit"):
        together(recipe(), Rows(rows.x[:, :3], rows.y), unequal())
