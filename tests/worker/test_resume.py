"""A run that is taken up again ends at the same bits as one that was never interrupted."""

from pathlib import Path

import pytest
import torch
from torch import nn
from torch.optim import SGD, Adam, AdamW
from torch.optim.lr_scheduler import LambdaLR, LinearLR

from service.domain.recipes import AscentGuard, Method, Mlp, NablaTau, Retrain, Sgd, Spec, Ssd, Training, Vector
from service.errors import BadInput
from tests.worker.conformance import EVERY, WORLDS, F, K, World, equal, named, of_family, parted, rows, same, state
from tests.worker.conftest import rng
from worker import resume
from worker.optimise import Progress
from worker.resume import Snapshot, grown, planted
from worker.training import train
from worker.unlearning import Unlearned, unlearn


class Killed(Exception):
    """The process is gone."""


def cut(world: World, recipe: Method, path: Path, at: int) -> None:
    """Run until this step, and no further."""

    def die(done: int, _total: int) -> None:
        if done == at:
            raise Killed

    with pytest.raises(Killed):
        world.run(recipe, on_step=die, snapshot=path)


def steps(world: World, recipe: Method) -> tuple[Unlearned, int]:
    heard: list[int] = []
    return world.run(recipe, on_step=lambda done, _: heard.append(done)), len(heard)


@pytest.mark.parametrize("recipe", EVERY, ids=named)
def test_a_run_that_is_taken_up_again_ends_at_the_same_bits(recipe, tmp_path):
    world, path = of_family(), tmp_path / "run"
    whole, total = steps(world, recipe)
    heard: list[int] = []

    cut(world, recipe, path, at=total // 2 + 1)
    begun = path.exists()
    again = world.run(recipe, snapshot=path, on_step=lambda done, _: heard.append(done))

    assert same(whole, again)
    assert heard[-1] == total
    assert begun == (len(heard) < total) or isinstance(recipe, Ssd)     # a closed form has no half
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("at", range(1, 7))
def test_wherever_it_was_cut(at, tmp_path):
    """Every third step begins an epoch here, and dropout draws from the global generator in each."""
    spec = Spec(family=Mlp(hidden=(8,)), training=Training(epochs=3, batch=9), input=Vector(features=F), classes=K)
    data, seen = rows(27, 1), []

    def fit(path: Path | None, last: int = 100) -> nn.Module:
        def die(done: int, _total: int) -> None:
            seen.append(done)
            if done == last:
                raise Killed

        return train(spec, data, on_step=die, snapshot=Snapshot(path, "this") if path else None)

    whole = state(fit(None))
    with pytest.raises(Killed):
        fit(tmp_path / "run", at)
    seen.clear()
    again = state(fit(tmp_path / "run"))

    assert equal(whole, again)
    assert seen == list(range(1 + (at - 1) // 3 * 3, 10))      # an epoch counts once it is written


@pytest.mark.parametrize("guard", [AscentGuard(), AscentGuard(stop_when_unseen=False, tolerance=10, collateral=None)])
@pytest.mark.parametrize("bn", ["frozen", "train"])
def test_guard_and_running_statistics_are_remembered(guard, bn, tmp_path):
    world: World = WORLDS["batch normalisation"]()
    recipe = NablaTau(batch=6, passes=4, lr=0.02, bn=bn, guard=guard)
    whole, total = steps(world, recipe)

    cut(world, recipe, tmp_path / "run", at=max(1, total - 1))
    again = world.run(recipe, snapshot=tmp_path / "run")

    assert same(whole, again)


def test_a_run_that_had_written_its_last_epoch_is_read_and_not_repeated(tmp_path, monkeypatch):
    world, heard = of_family(), []
    recipe = NablaTau(batch=8)
    whole = world.run(recipe)
    monkeypatch.setattr(Snapshot, "end", die)
    with pytest.raises(Killed):
        world.run(recipe, snapshot=tmp_path / "run")
    monkeypatch.undo()

    again = world.run(recipe, snapshot=tmp_path / "run", on_step=lambda done, _: heard.append(done))

    assert same(whole, again)
    assert not heard


def die(*_: object) -> None:
    raise Killed


OTHER = parted(36, 12)
OTHER.retain.x[0, 0] += 1
RUN = of_family()
OTHERS = {
    "recipe": (RUN, NablaTau(batch=8, lr=0.5), 7),
    "seed": (RUN, NablaTau(batch=8), 8),
    "rows": (World(RUN.model, OTHER, RUN.spec), NablaTau(batch=8), 7),
    "model": (WORLDS["dropout"](), NablaTau(batch=8), 7),
    "method": (RUN, Retrain(), 7),
}


@pytest.mark.parametrize(("world", "recipe", "seed"), OTHERS.values(), ids=OTHERS)
def test_the_snapshot_of_another_run_is_refused_and_stays(world, recipe, seed, tmp_path):
    path = tmp_path / "run"
    cut(RUN, NablaTau(batch=8), path, at=5)
    before = path.read_bytes()

    with pytest.raises(BadInput, match="another run"):
        world.run(recipe, seed=seed, snapshot=path, on_step=die)

    assert path.read_bytes() == before


def test_a_generator_that_has_been_drawn_from_is_another_run(tmp_path):
    path, used = tmp_path / "run", rng(7)
    cut(RUN, NablaTau(batch=8), path, at=5)
    torch.rand(1, generator=used)

    with pytest.raises(BadInput, match="another run"):
        unlearn(RUN.model, RUN.split, NablaTau(batch=8), rng=used, snapshot=path)


def test_retraining_by_another_recipe_of_the_model_is_another_run(tmp_path):
    other = RUN.spec.model_copy(update={"training": Training(optimizer=Sgd(), epochs=2, batch=16)})
    cut(RUN, Retrain(), tmp_path / "run", at=5)

    with pytest.raises(BadInput, match="another run"):
        World(RUN.model, RUN.split, other).run(Retrain(), snapshot=tmp_path / "run")


@pytest.mark.parametrize("content", [b"", b"no safetensors"])
def test_a_file_that_is_no_snapshot_is_refused(content, tmp_path):
    (tmp_path / "run").write_bytes(content)

    with pytest.raises(BadInput, match="not safetensors"):
        RUN.run(NablaTau(), snapshot=tmp_path / "run")


def test_who_dies_while_writing_leaves_the_epoch_before(tmp_path, monkeypatch):
    snapshot = Snapshot(tmp_path / "run", "this")
    snapshot.write({"next": 1, "w": torch.ones(3)})

    monkeypatch.setattr("os.fsync", die)
    with pytest.raises(Killed):
        snapshot.write({"next": 2, "w": torch.zeros(3)})
    found = snapshot.read()

    assert found is not None
    assert found["next"] == 1
    assert found["w"].tolist() == [1, 1, 1]


def test_a_snapshot_of_a_method_that_remembered_something_else_is_refused(tmp_path):
    model, snapshot = nn.Linear(2, 2), Snapshot(tmp_path / "run", "this")
    next(kept := resume.epochs(3, model, rng(), [], {"progress": Progress(3)}, snapshot))
    next(kept)

    with pytest.raises(BadInput, match="another version"):
        next(resume.epochs(3, model, rng(), [], {"progress": Progress(3), "target": Progress(3)}, snapshot))


def test_a_tree_of_anything_comes_back_as_it_was():
    plain = [None, True, "text", 0.1, [torch.empty(0)]]
    tree = {"a/b": torch.tensor(1.5), "a": {"b": torch.arange(3)}, 0: plain, "": {}}
    tensors: dict[str, torch.Tensor] = {}

    back = grown(planted(tree, tensors), tensors, "cpu")

    assert back["a/b"].item() == 1.5
    assert back["a"]["b"].tolist() == [0, 1, 2]
    assert back[0][:4] == [None, True, "text", 0.1]
    assert back[0][4][0].shape == (0,)
    assert back[""] == {}


@pytest.mark.parametrize("make", [
    lambda w: SGD(w, 0.1, momentum=0.9, weight_decay=0.1, nesterov=True),
    lambda w: Adam(w, 0.1, amsgrad=True),
    lambda w: AdamW(w, 0.1),
], ids=["sgd", "adam", "adamw"])  # fmt: skip
@pytest.mark.parametrize("falling", [
    lambda o: LinearLR(o, 1.0, 0.1, total_iters=6), lambda o: LambdaLR(o, lambda done: 0.5**done)
], ids=["linear", "lambda"])  # fmt: skip
def test_optimisers_and_their_schedules_go_on_as_if_nothing_had_been(make, falling, tmp_path):
    def run(epochs: int, snapshot: Snapshot | None) -> nn.Module:
        w = nn.Linear(3, 2, bias=False)
        nn.init.constant_(w.weight, 0.5)
        optimiser = make(w.parameters())
        schedule, g = falling(optimiser), rng(1)
        for _ in zip(range(epochs), resume.epochs(
            6, w, g, [], {"optimiser": optimiser, "schedule": schedule}, snapshot
        ), strict=False):
            w.weight.grad = torch.randn(2, 3, generator=g)
            optimiser.step()
            schedule.step()
        return w

    whole = run(6, None)
    run(4, Snapshot(tmp_path / "run", "this"))
    again = run(6, Snapshot(tmp_path / "run", "this"))

    assert torch.equal(whole.weight, again.weight)
