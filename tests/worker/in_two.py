"""What several processes do together: python -m tests.worker.in_two OUT, alone or under torchrun."""

import sys
from pathlib import Path

import torch
from torch.nn import BatchNorm1d

from service.domain.recipes import AdamW, AndMask, Method, Mlp, NablaTau, Spec, Training, Vector
from service.errors import BadInput
from tests.worker.conformance import METHODS, WORLDS, F, K, named, of_family, parted, rows
from tests.worker.conftest import rng
from worker import checkpoint
from worker.distributed import joined, place, processes
from worker.training import train

BATCH = 7       # no whole number of rows for each of two
TARGETS: list[Method] = [
    NablaTau(target=target, mask=mask, batch=BATCH, passes=2, lr=0.005)
    for target in ("mean", "class", "quantile") for mask in (NablaTau().mask, AndMask())
]


def trained(out: Path) -> None:
    """From scratch, on batches of an odd number of rows."""
    recipe = Training(optimizer=AdamW(lr=0.01), epochs=3, batch=BATCH)
    spec = Spec(family=Mlp(hidden=(8,)), training=recipe, input=Vector(features=F), classes=K)
    checkpoint.save(train(spec, rows(38, 1)), out / f"trained.{place()}")


def unlearned(out: Path) -> None:
    """Every target with and without a mask; every method; labels of every kind; fewer rows than processes."""
    worlds = {"usual": of_family(), "lone": of_family(split=parted(20, 1)), "labels": WORLDS["multi-label"]()}
    for recipe in TARGETS:
        checkpoint.save(of_family().run(recipe).model, out / f"{named(recipe)}.{place()}")
    for name, world in worlds.items():
        for recipe in METHODS:
            checkpoint.save(world.run(recipe).model, out / f"{name}-{recipe.name}.{place()}")


def refused(out: Path) -> None:
    """Statistics over a batch that nobody has whole."""
    world = WORLDS["batch normalisation"]()
    assert any(isinstance(m, BatchNorm1d) for m in world.model.modules())
    world.run(NablaTau(batch=BATCH))
    try:
        world.run(NablaTau(batch=BATCH, bn="train"))
    except BadInput as error:
        (out / f"refused.{place()}.txt").write_text(error.detail)


def resumed(out: Path) -> None:
    """Both end in the middle, and go on from what the first of them wrote."""

    def die(done: int, total: int) -> None:
        if done == total // 2 + 1:
            raise InterruptedError

    world, recipe = of_family(), TARGETS[0]
    try:
        world.run(recipe, on_step=die, snapshot=out / "snapshot")
    except InterruptedError:
        if not place():
            assert (out / "snapshot").exists()
    checkpoint.save(world.run(recipe, snapshot=out / "snapshot").model, out / f"resumed.{place()}")


def main() -> None:
    """Do it all."""
    torch.set_num_threads(1)
    out = Path(sys.argv[1])
    with joined():
        (out / f"processes.{place()}.txt").write_text(str(processes()))
        assert rng().initial_seed() == 0
        for part in (trained, unlearned, refused, resumed):
            part(out)


if __name__ == "__main__":
    main()
