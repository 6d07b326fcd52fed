"""What every method and mask of the menu promises, over the registry."""

from collections.abc import Sequence

import pytest
import torch
from torch import Tensor, nn

from service.domain.recipes import (
    AndMask,
    Image,
    Method,
    NablaTau,
    NoMask,
    ProbMask,
    ResNet18,
    Retrain,
    Spec,
    Training,
    Vector,
)
from service.errors import BadInput, Cancelled, Diverged
from worker import optimise
from worker.data import Rows, Split
from worker.inference import accuracy, losses
from worker.metrics import auc
from worker.registry import mask, method
from worker.training import build, train
from worker.unlearning import Unlearned, unlearn

MASKS = [NoMask(), AndMask(), ProbMask(p=0.3), ProbMask(p=0.4, variance="adam")]
SURE: dict[str, float] = {"passes": 40, "batch": 40, "alpha0": 0.5, "lr": 3e-3}    # a pass has few steps
RECIPES: list[Method] = [NablaTau(target=t, mask=m, **SURE) for t in ("mean", "quantile") for m in MASKS] + [Retrain()]


def name(recipe: Method) -> str:
    return "-".join(map(str, (recipe.name, getattr(recipe, "target", ""), getattr(recipe, "mask", ""))))


every = pytest.mark.parametrize("recipe", RECIPES, ids=name)


def generator(seed: int = 7) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def state(model: nn.Module) -> dict[str, Tensor]:
    return {key: t.clone() for key, t in model.state_dict().items()}


def equal(a: dict[str, Tensor], b: dict[str, Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[key], b[key]) for key in a)


def leak(model: nn.Module, split: Split) -> float:
    return auc(-losses(model, split.forget).numpy(), -losses(model, split.validation).numpy())


def forgets(before: nn.Module, after: nn.Module, split: Split) -> bool:
    """At least a third of what an attacker knew is gone, and the rest is still known."""
    gone = leak(before, split) - leak(after, split)
    return gone > (leak(before, split) - 0.5) / 3 and accuracy(after, split.retain) > 0.85


def test_every_method_and_mask_of_the_menu_is_tested_here():
    assert {type(recipe) for recipe in RECIPES} == set(method.recipes())
    assert {type(m) for m in MASKS} == set(mask.recipes())


@every
def test_what_was_learned_by_heart_is_forgotten_and_the_rest_is_kept(recipe, original, split, spec):
    after = unlearn(original, split, recipe, rng=generator(), spec=spec).model

    assert leak(original, split) > 0.7
    assert forgets(original, after, split)


def test_a_method_that_does_nothing_would_be_noticed(original, split):
    assert not forgets(original, original, split)


def test_a_method_that_ruins_the_model_would_be_noticed(original, split, spec):
    assert not forgets(original, build(spec, generator()), split)


@every
def test_the_arguments_stay_as_they_are(recipe, original, split, spec):
    weights, rows = state(original), [t.clone() for d in vars(split).values() for t in (d.x, d.y)]
    modes = [module.training for module in original.modules()]

    result = unlearn(original, split, recipe, rng=generator(), spec=spec)

    assert equal(weights, original.state_dict())
    assert all(map(torch.equal, rows, [t for d in vars(split).values() for t in (d.x, d.y)]))
    assert modes == [module.training for module in original.modules()]
    assert all(w.grad is None for w in (*original.parameters(), *result.model.parameters()))


@every
def test_the_same_generator_gives_the_same_bits(recipe, original, split, spec):
    torch.manual_seed(1)
    one = unlearn(original, split, recipe, rng=generator(), spec=spec)
    torch.manual_seed(2)
    same = unlearn(original, split, recipe, rng=generator(), spec=spec)

    assert equal(one.model.state_dict(), same.model.state_dict())
    assert one.log == same.log


@every
def test_a_run_stops_within_one_step_of_being_cancelled(recipe, original, split, spec):
    weights, heard = state(original), []

    def listen(done: int, total: int) -> None:
        heard.append((done, total))
        if done == 4:
            raise Cancelled("enough")

    with pytest.raises(Cancelled):
        unlearn(original, split, recipe, rng=generator(), spec=spec, on_step=listen)

    assert [done for done, _ in heard] == [1, 2, 3, 4]
    assert equal(weights, original.state_dict())


@every
def test_the_steps_announced_are_the_steps_done(recipe, original, split, spec):
    heard: list[tuple[int, int]] = []

    unlearn(original, split, recipe, rng=generator(), spec=spec, on_step=lambda *step: heard.append(step))

    assert heard == [(i + 1, len(heard)) for i in range(len(heard))]


@every
@pytest.mark.parametrize("part", ["retain", "forget", "validation"])
def test_an_empty_part_is_refused_before_the_first_step(recipe, part, original, split, spec):
    heard: list[int] = []
    nothing = Split(**{**vars(split), part: split.forget.take(torch.arange(0))})

    with pytest.raises(BadInput, match=part):
        unlearn(original, nothing, recipe, rng=generator(), spec=spec, on_step=lambda done, _: heard.append(done))

    assert not heard


@every
@pytest.mark.parametrize(("retain", "forget"), [(200, 1), (200, 2), (3, 40), (1, 1)])
def test_sets_of_any_size_will_do(recipe, retain, forget, original, split, spec):
    odd = Split(split.retain.take(torch.arange(retain)), split.forget.take(torch.arange(forget)), split.validation)

    result = unlearn(original, odd, recipe, rng=generator(), spec=spec)

    assert all(torch.isfinite(w).all() for w in result.model.parameters())


def normalised() -> tuple[nn.Module, Split]:
    image = Image(channels=1, height=8, width=8)
    spec = Spec(family=ResNet18(width=2), training=Training(epochs=2, batch=8), input=image, classes=2)
    x = torch.rand(40, 1, 8, 8, generator=generator())
    rows = Rows(x, (x.mean(dim=(1, 2, 3)) > 0.5).long())
    parts = [rows.take(torch.arange(a, b)) for a, b in ((0, 20), (20, 28), (28, 40))]
    return train(spec, parts[0]), Split(*parts)


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("target", ["mean", "quantile"])
def test_running_statistics_do_not_move_and_modes_stay(training, target):
    model, split = normalised()
    model.train(training)
    buffers = {key: t.clone() for key, t in model.named_buffers()}

    after = unlearn(model, split, NablaTau(target=target), rng=generator()).model

    assert equal(buffers, dict(after.named_buffers()))
    assert after.training is training


def watched(monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """For each step, whether the weights that its mask holds kept their bits."""
    kept: list[bool] = []
    real = optimise.step

    def spy(weights: Sequence[Tensor], update: list[Tensor], optimiser: object, moves: list[Tensor] | None) -> None:
        before = [w.detach().clone() for w in weights]
        real(weights, update, optimiser, moves)
        held = [~m for m in moves or []]
        kept.append(all(torch.equal(w[h], b[h]) for w, b, h in zip(weights, before, held, strict=True)))

    monkeypatch.setattr(optimise, "step", spy)
    return kept


@pytest.mark.parametrize("masked", MASKS[1:], ids=lambda m: m.name)
def test_held_weights_keep_their_bits_at_every_step(masked, original, split, monkeypatch):
    kept = watched(monkeypatch)

    log = unlearn(original, split, NablaTau(mask=masked, **SURE), rng=generator()).log

    assert all(kept)
    assert min(entry["density"] for entry in log) < 1


def test_the_and_mask_with_equal_signs_makes_every_update_feasible(original, split):
    log = unlearn(original, split, NablaTau(mask=AndMask(), **SURE), rng=generator()).log

    assert {entry["feasible"] for entry in log} == {1.0}


def test_the_log_says_what_happened(original, split):
    result = unlearn(original, split, NablaTau(target="mean", **SURE), rng=generator())

    assert isinstance(result, Unlearned)
    assert result.seconds > 0
    assert {"epoch", "alpha", "tau", "forget_loss", "retain_loss", "active"} <= result.log[0].keys()
    assert result.log[0]["tau"] == pytest.approx(losses(original, split.validation).mean().item())
    assert result.log[0]["active"] == 1


def test_retraining_is_training_on_the_retain_rows(original, split, spec):
    result = unlearn(original, split, Retrain(), rng=generator(), spec=spec)

    assert equal(result.model.state_dict(), train(spec, split.retain).state_dict())


def test_retraining_needs_the_recipe(original, split):
    with pytest.raises(BadInput, match="recipe"):
        unlearn(original, split, Retrain(), rng=generator())


def test_retraining_refuses_another_architectures_recipe(original, split, spec):
    other = spec.model_copy(update={"input": Vector(features=13)})

    with pytest.raises(BadInput, match="architecture"):
        unlearn(original, split, Retrain(), rng=generator(), spec=other)


def test_a_loss_that_is_not_finite_ends_the_run_and_names_the_step(original, split):
    weights = state(original)
    broken = Rows(torch.full_like(split.forget.x, float("nan")), split.forget.y)

    with pytest.raises(Diverged, match="step 1"):
        unlearn(original, Split(split.retain, broken, split.validation), NablaTau(), rng=generator())

    assert equal(weights, original.state_dict())
