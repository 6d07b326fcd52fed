"""What every family and augmentation of the menu promises, where models are trained and where they forget."""

from pathlib import Path

import pytest
import torch
from torch import nn

from service.domain.recipes import (
    AndMask,
    Augmentation,
    Cnn,
    Family,
    Image,
    InputShape,
    Method,
    NablaTau,
    RandomLabel,
    Retrain,
    Spec,
    Ssd,
    Tokens,
    Training,
    Vector,
)
from service.domain.recipes import NoAugmentation as Nothing
from service.errors import BadInput
from tests.worker.conformance import World, equal, fitted, named, same, state
from tests.worker.conftest import rng
from worker import registry
from worker.data import Rows, Split
from worker.resume import Snapshot
from worker.training import build, train

SMALL = {"width": 4, "depth": 1, "heads": 2, "hidden": (8,), "patch": 4}
SHAPES: list[InputShape] = [
    Image(channels=3, height=8, width=8), Tokens(length=6, vocabulary=20), Vector(features=5)
]  # fmt: skip
# One that somebody brings has no architecture without his code or program: tests/worker/test_own_architectures.py.
FAMILIES: list[Family] = [
    fitted(recipe, **SMALL) for recipe in registry.family.recipes()
    if not any(field.is_required() for field in recipe.model_fields.values())
]
AUGMENTATIONS: list[Augmentation] = [recipe() for recipe in registry.augmentation.recipes()]
METHODS: list[Method] = [NablaTau(batch=4, passes=2), NablaTau(batch=4, passes=2, mask=AndMask()), Ssd(selection=0.5)]

family = pytest.mark.parametrize("family", FAMILIES, ids=lambda f: f.name)
augmentation = pytest.mark.parametrize("augmentation", AUGMENTATIONS, ids=lambda a: a.name)


class Killed(Exception):
    """The process is gone."""


def specified(family: Family) -> Spec:
    """The family on the first kind of row that it takes."""
    for shape in SHAPES:
        try:
            build(spec := Spec(family=family, training=Training(epochs=2, batch=5), input=shape, classes=2), rng())
        except BadInput:
            continue
        return spec
    raise AssertionError(f"the family {family.name} takes none of these rows")


def rows(shape: InputShape, n: int, seed: int) -> Rows:
    g = rng(seed)
    match shape:
        case Image():
            x = torch.randint(256, (n, shape.channels, shape.height, shape.width), generator=g, dtype=torch.uint8)
        case Tokens():
            x = torch.randint(1, shape.vocabulary, (n, shape.length), generator=g, dtype=torch.int32)
        case Vector():
            x = torch.randn(n, shape.features, generator=g)
    return Rows(x, torch.randint(2, (n,), generator=g))


def world(spec: Spec) -> World:
    """A model that is as it began, and a dozen rows."""
    return World(build(spec, rng()), Split(*(rows(spec.input, n, seed) for seed, n in enumerate((9, 5, 6)))), spec)


def cut_in_two(spec: Spec, data: Rows, path: Path) -> nn.Module:
    """Trained until the second epoch has begun, and then from there."""

    def die(done: int, total: int) -> None:
        if done == total // 2 + 1:
            raise Killed

    with pytest.raises(Killed):
        train(spec, data, on_step=die, snapshot=Snapshot(path, "this"))
    assert path.exists()
    return train(spec, data, snapshot=Snapshot(path, "this"))


@family
def test_every_family_trains_to_the_same_bits_even_when_taken_up_again(family, tmp_path):
    spec = specified(family)
    data = rows(spec.input, 10, seed=1)

    torch.manual_seed(1)
    whole = state(train(spec, data))
    torch.manual_seed(2)
    again = state(cut_in_two(spec, data, tmp_path / "run"))

    assert equal(whole, again)
    assert not equal(whole, state(build(spec, rng(spec.training.seed))))


@family
@pytest.mark.parametrize("recipe", [*METHODS, Retrain()], ids=named)
def test_every_family_forgets_to_the_same_bits(family, recipe):
    of = world(specified(family))

    torch.manual_seed(1)
    one = of.run(recipe)
    torch.manual_seed(2)
    other = of.run(recipe)

    assert same(one, other)
    assert not equal(state(of.model), state(one.model))
    assert all(torch.isfinite(w).all() for w in one.model.parameters())


def pictures(augmentation: Augmentation) -> Spec:
    training = Training(epochs=2, batch=5, augmentation=augmentation)
    return Spec(family=Cnn(width=2), training=training, input=Image(channels=3, height=8, width=8), classes=2)


@augmentation
def test_every_augmentation_trains_to_the_same_bits_even_when_taken_up_again(augmentation, tmp_path):
    spec = pictures(augmentation)
    data = rows(spec.input, 10, seed=1)

    torch.manual_seed(1)
    whole = state(train(spec, data))
    torch.manual_seed(2)
    again = state(cut_in_two(spec, data, tmp_path / "run"))

    assert equal(whole, again)
    assert equal(whole, state(train(pictures(Nothing()), data))) == isinstance(augmentation, Nothing)


@augmentation
@pytest.mark.parametrize("switch", ["augment_retain", "augment_forget"])
@pytest.mark.parametrize("method", [NablaTau, RandomLabel], ids=lambda m: m.model_fields["name"].default)
def test_every_augmentation_forgets_to_the_same_bits_and_leaves_the_rows(augmentation, switch, method):
    of, recipe = world(pictures(Nothing())), fitted(method, batch=4, epochs=2, passes=2, **{switch: augmentation})
    held = [d.x.clone() for d in vars(of.split).values()]

    torch.manual_seed(1)
    one = of.run(recipe)
    torch.manual_seed(2)
    other = of.run(recipe)

    bare = of.run(recipe.model_copy(update={switch: Nothing()}))
    assert same(one, other)
    assert same(one, bare) == isinstance(augmentation, Nothing)
    assert all(map(torch.equal, held, [d.x for d in vars(of.split).values()]))


@augmentation
def test_retraining_augments_as_its_recipe_says(augmentation):
    of = world(pictures(Nothing()))

    after = of.run(Retrain(augmentation=augmentation)).model

    assert equal(state(after), state(train(pictures(augmentation), of.split.retain)))
