"""What every method and mask of the menu promises, on every kind of model; a new file is tried without a new test."""

from collections.abc import Callable, Sequence
from typing import get_args

import pytest
import torch
from torch import Tensor
from torch.optim import SGD, Adam, AdamW, Optimizer

from service.domain.recipes import Augmentation, Family, Mask, Method, NablaTau, OptMask, RandomLabel
from service.domain.recipes.methods import ALL
from service.errors import BadInput, Cancelled, Diverged
from tests.worker.conformance import (
    DESCENTS,
    EVERY,
    MASKED,
    METHODS,
    VARIANTS,
    WORLDS,
    World,
    equal,
    foreign,
    named,
    normalised,
    of_family,
    parted,
    same,
    state,
    tensors,
)
from worker import optimise, registry
from worker.data import Rows, Split

every = pytest.mark.parametrize("recipe", EVERY, ids=named)
variant = pytest.mark.parametrize("recipe", VARIANTS, ids=named)
plain = pytest.mark.parametrize("recipe", METHODS, ids=named)
descent = pytest.mark.parametrize("recipe", DESCENTS, ids=named)
everywhere = pytest.mark.parametrize("make", WORLDS.values(), ids=WORLDS)


@pytest.mark.parametrize(
    ("menu", "noun"), [(Method, "method"), (Mask, "mask"), (Augmentation, "augmentation"), (Family, "family")]
)
def test_every_class_of_the_menu_has_its_code(menu, noun):
    assert set(getattr(registry, noun).recipes()) == set(get_args(get_args(menu)[0]))


@every
def test_weights_move_and_the_arguments_stay_as_they_are(recipe):
    world = of_family()
    weights, held = state(world.model), [t.clone() for t in tensors(world.split)]
    modes = [module.training for module in world.model.modules()]

    result = world.run(recipe)

    assert not equal(weights, state(result.model))
    assert equal(weights, state(world.model))
    assert all(map(torch.equal, held, tensors(world.split)))
    assert modes == [m.training for m in world.model.modules()] == [m.training for m in result.model.modules()]
    assert all(w.grad is None for w in (*world.model.parameters(), *result.model.parameters()))


@every
def test_the_same_generator_gives_the_same_bits_whatever_the_global_seed(recipe):
    world = of_family()

    torch.manual_seed(1)
    one = world.run(recipe)
    torch.manual_seed(2)
    other = world.run(recipe)

    assert same(one, other)


@variant
def test_another_generator_gives_other_weights_if_any_chance_is_involved(recipe):
    one, other = (of_family().run(recipe, seed=seed) for seed in (7, 8))

    alike = equal(state(one.model), state(other.model))

    assert alike == (recipe.name in {"ssd", "retrain"})     # a closed form, and a recipe with a seed of its own


@descent
def test_the_optimiser_owns_every_weight_that_may_move(recipe):
    world = of_family()

    after = state(world.run(recipe).model)

    assert [name for name, before in state(world.model).items() if torch.equal(before, after[name])] == []


@every
def test_the_steps_announced_are_the_steps_done(recipe):
    heard: list[tuple[int, int]] = []

    of_family().run(recipe, on_step=lambda *step: heard.append(step))

    assert heard == [(i + 1, len(heard)) for i in range(len(heard))]
    assert heard


@every
def test_a_run_stops_within_one_step_of_being_cancelled(recipe):
    world, heard = of_family(), []
    weights = state(world.model)

    def listen(done: int, total: int) -> None:
        heard.append(done)
        if done == 2:
            raise Cancelled("enough")

    with pytest.raises(Cancelled):
        world.run(recipe, on_step=listen)

    assert heard == [1, 2]
    assert equal(weights, state(world.model))


@everywhere
@variant
def test_every_kind_of_model_label_and_split_will_do(recipe, make):
    world: World = make()
    if not world.serves(recipe):
        pytest.skip("retraining is of models that a recipe describes")
    frozen = {name for name, w in world.model.named_parameters() if not w.requires_grad}
    fixed = frozen | dict(world.model.named_buffers()).keys()

    result = world.run(recipe)

    before, after = state(world.model), state(result.model)
    assert all(torch.isfinite(t).all() for t in after.values())
    assert all(torch.equal(before[name], after[name]) for name in fixed)
    assert len(list(result.model.parameters())) == len(list(world.model.parameters()))      # what is shared stays so
    assert [w.requires_grad for w in result.model.parameters()] == [w.requires_grad for w in world.model.parameters()]


@pytest.mark.parametrize("kind", ["batch normalisation", "shared weights", "frozen layer", "multi-label", "regression"])
@pytest.mark.parametrize("recipe", MASKED, ids=named)
def test_every_mask_works_on_every_kind_of_model_and_label(recipe, kind):
    world: World = WORLDS[kind]()

    after = state(world.run(recipe).model)

    assert all(torch.isfinite(t).all() for t in after.values())


@descent
def test_running_statistics_move_only_if_the_recipe_says_so(recipe):
    world = foreign(normalised)
    buffers = {name: t.clone() for name, t in world.model.named_buffers()}

    still = world.run(recipe).model
    moved = world.run(recipe.model_copy(update={"bn": "train"})).model

    assert equal(buffers, dict(still.named_buffers()))
    assert not torch.equal(buffers["1.running_mean"], dict(moved.named_buffers())["1.running_mean"])
    assert not moved[1].training


@pytest.mark.parametrize("training", [True, False])
@descent
def test_nothing_is_dropped_while_a_model_forgets(recipe, training):
    """Dropout is of training from scratch, so the global generator that it draws from has no say here."""
    world: World = WORLDS["dropout"]()
    world.model.train(training)

    result = world.run(recipe)

    world.model[2].p = 0.0
    assert same(result, world.run(recipe))


Made = Callable[[Sequence[Tensor]], Optimizer]
OPTIMISERS: dict[str, Made] = {
    "sgd": lambda w: SGD(w, 0.05, momentum=0.9, weight_decay=0.1),
    "adam": lambda w: Adam(w, 0.01, weight_decay=0.1),
    "adamw": lambda w: AdamW(w, 0.01, weight_decay=0.1),
}


def watched(monkeypatch: pytest.MonkeyPatch, make: Made) -> list[tuple[int, bool]]:
    """Put another optimiser in each one's place; for each step: the weights held, and whether they kept their bits."""
    seen: list[tuple[int, bool]] = []
    instead: dict[int, tuple[Optimizer, Optimizer]] = {}
    real = optimise.step

    def spy(weights: Sequence[Tensor], update: list[Tensor], own: Optimizer, moves: list[Tensor] | None = None) -> None:
        before = [w.detach().clone() for w in weights]
        _, another = instead.setdefault(id(own), (own, make(weights)))
        real(weights, update, another, moves)
        own.step()      # finds no gradient; its schedule wants it called
        held = [~m for m in moves or []]
        kept = all(torch.equal(w[h], b[h]) for w, b, h in zip(weights, before, held, strict=bool(held)))
        seen.append((sum(int(h.sum()) for h in held), kept))

    monkeypatch.setattr(optimise, "step", spy)
    return seen


@pytest.mark.parametrize("make", OPTIMISERS.values(), ids=OPTIMISERS)
@pytest.mark.parametrize("recipe", MASKED, ids=named)
def test_held_weights_keep_their_bits_under_every_optimiser(recipe, make, monkeypatch):
    seen = watched(monkeypatch, make)

    log = of_family().run(recipe).log

    assert all(kept for _, kept in seen)
    held = max(number for number, _ in seen) > 0
    assert held == (min(entry["density"] for entry in log) < 1)
    assert held or recipe.mask.name in {"focus", "opt", "prob"}     # scales only, or may find nothing to hold


@pytest.mark.parametrize("recipe", [m for m in MASKED if isinstance(m, RandomLabel | NablaTau)], ids=named)
def test_a_mask_makes_a_difference(recipe):
    """The greedy one alone may find that nothing has to be held."""
    world = of_family()

    bare = world.run(recipe.model_copy(update={"mask": type(recipe)().mask}))

    assert isinstance(recipe.mask, OptMask) or not same(bare, world.run(recipe))


def refused(world: World, recipe: Method, split: Split, match: str) -> bool:
    """Whether it is refused before the first step."""
    heard: list[int] = []
    with pytest.raises(BadInput, match=match):
        World(world.model, split, world.spec).run(recipe, on_step=lambda done, _: heard.append(done))
    return not heard


@plain
@pytest.mark.parametrize("part", ["retain", "forget", "validation"])
def test_an_empty_part_is_refused_before_the_first_step(recipe, part):
    world = of_family()
    nothing = getattr(world.split, part).take(torch.arange(0))

    assert refused(world, recipe, Split(**{**vars(world.split), part: nothing}), part)


@plain
def test_a_forget_set_that_is_everything_is_refused(recipe):
    world = of_family()
    d = world.split
    everything = Rows(torch.cat([d.forget.x, d.retain.x]), torch.cat([d.forget.y, d.retain.y]))

    assert refused(world, recipe, Split(d.retain.take(torch.arange(0)), everything, d.validation), "delete the model")


@plain
@pytest.mark.parametrize("part", ["retain", "forget"])
def test_validation_rows_that_were_trained_on_are_refused(recipe, part):
    world = of_family()
    seen = getattr(world.split, part)

    assert refused(world, recipe, Split(world.split.retain, world.split.forget, seen), "trained on")


@plain
@pytest.mark.parametrize("y", [torch.full((12,), 3), torch.full((12,), -1), torch.zeros(12), torch.zeros(12, 3)])
def test_labels_that_the_model_does_not_answer_are_refused(recipe, y):
    world = of_family()
    d = world.split

    assert refused(world, recipe, Split(d.retain, Rows(d.forget.x, y), d.validation), "labels")


@plain
def test_rows_that_the_model_does_not_take_are_refused(recipe):
    world = of_family()
    wide = [Rows(torch.cat([d.x, d.x], dim=1), d.y) for d in vars(world.split).values()]

    assert refused(world, recipe, Split(*wide), "does not take rows")


@plain
def test_a_model_of_which_no_weight_may_move_is_refused(recipe):
    world = of_family()
    world.model.requires_grad_(requires_grad=False)

    assert refused(world, recipe, world.split, "frozen")


@descent
def test_running_statistics_of_a_lone_row_are_refused(recipe):
    world = foreign(normalised)

    assert refused(world, recipe.model_copy(update={"bn": "train"}), parted(1, 1), "lone row")


@plain
def test_a_loss_that_is_not_finite_ends_the_run_and_names_the_step(recipe):
    world, nan = of_family(), float("nan")
    weights = state(world.model)
    broken = [Rows(torch.full_like(d.x, nan), d.y) for d in (world.split.retain, world.split.forget)]

    with pytest.raises(Diverged, match="step 1"):
        World(world.model, Split(*broken, world.split.validation), world.spec).run(recipe)

    assert equal(weights, state(world.model))


@pytest.mark.parametrize("recipe", [type(m) for m in METHODS if "order" in type(m).model_fields])
@pytest.mark.parametrize("mask", ["and", "prob", "focus", "opt"])
def test_a_mask_of_two_gradients_does_not_go_with_one_pass_after_the_other(recipe, mask):
    with pytest.raises(ValueError, match="order=paired"):
        recipe(order="sequential", mask={"name": mask})


@pytest.mark.parametrize("p", [-0.1, 0, 1, 1.5, float("nan")])
def test_a_probability_out_of_its_range_is_refused(p):
    with pytest.raises(ValueError, match="p"):
        NablaTau(mask={"name": "prob", "p": p})


def test_every_method_says_whom_it_serves():
    assert all(m.serves <= ALL and m.serves for m in METHODS)
