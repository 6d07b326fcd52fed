"""Every method on a GPU: seconds, memory, and the share of bf16 matrix speed that its steps reach. Prints JSON.

python benchmarks/gpu.py FOLDER, a folder with train.parquet and test.parquet of pictures, as CIFAR-10's.
`--device cpu --rows 200 --width 4` only shows that it works.
"""

import argparse
import json
import sys
from pathlib import Path
from time import perf_counter

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from service.domain.recipes import CropFlip, Method, ResNet18, Retrain, Sgd, Spec, Training
from worker.bench.contenders import contenders
from worker.bench.sources import parts, some
from worker.data import Split, inputs
from worker.sources import Described, source
from worker.tasks import losses
from worker.training import train
from worker.unlearning import now, unlearn

SIDE = 8192     # of the matrices whose product is the speed to compare with


def main() -> None:
    words = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    words.add_argument("folder", type=Path)
    words.add_argument("--device", default="cuda")
    words.add_argument("--rows", type=int, default=50_000)
    words.add_argument("--epochs", type=int, default=20)
    words.add_argument("--width", type=int, default=64)
    told = words.parse_args()
    if told.device.startswith("cuda") and not torch.cuda.is_available():
        sys.exit("There is no CUDA device here; --device cpu shows that the script works.")
    print(json.dumps(bench(told.folder, torch.device(told.device), told.rows, told.epochs, told.width)))


def bench(folder: Path, device: torch.device, rows: int, epochs: int, width: int) -> dict[str, object]:
    """One original model, then every method of the menu as published."""
    recipe = Training(
        optimizer=Sgd(), schedule="cosine", epochs=epochs, batch=256, augmentation=CropFlip()
    )
    described = Described(name="m", dataset=folder.name, family=ResNet18(width=width), training=recipe)
    rng = torch.Generator().manual_seed(0)
    first, *unseen = parts(folder, rng, described.text)
    here = source(described, [first.take(torch.randperm(len(first), generator=rng)[:rows]), *unseen])
    split = here.split(some(here.train, 0.1, rng)).to(device)
    model = train(here.spec, here.train, device=device)
    peak, flops = matrix_speed(device), flops_per_row(model, split)
    field: list[tuple[str, Method]] = [(each.name, each.recipes[0]) for each in contenders(rates=False)]
    every = [("retrain", Retrain()), *field]
    found = [measured(name, method, model, split, here.spec, peak, flops) for name, method in every]
    return {
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu",
        "versions": {"torch": torch.__version__, "cuda": torch.version.cuda},
        "dataset": here.name, "rows_n": len(here.train), "matrix_tflops": peak / 1e12, "rows": found,
    }


def measured(
    name: str, method: Method, model: nn.Module, split: Split, spec: Spec, peak: float, flops: float
) -> dict[str, object]:
    """Seconds, peak memory, and the forward and backward work of the rows drawn, over the matrices' speed."""
    device, steps = split.forget.y.device, [0]
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    result = unlearn(
        model, split, method, rng=torch.Generator().manual_seed(0), spec=spec,
        on_step=lambda done, _: steps.__setitem__(0, done),
    )
    drawn = steps[0] * getattr(method, "batch", spec.training.batch) * (2 if hasattr(method, "mask") else 1)
    return {
        "method": name, "s": result.seconds, "steps": steps[0],
        "memory_mb": torch.cuda.max_memory_allocated(device) / 2**20 if device.type == "cuda" else None,
        "share_of_peak": 3 * flops * drawn / result.seconds / peak,
    }


def matrix_speed(device: torch.device) -> float:
    """Floating-point operations per second of a bf16 product, the best of five."""
    side = SIDE if device.type == "cuda" else 512
    a, b = (torch.randn(side, side, device=device, dtype=torch.bfloat16) for _ in "ab")
    best = float("inf")
    for _ in range(6):
        start = now(device)
        a @ b
        best = min(best, now(device) - start)
    return 2 * side**3 / best


def flops_per_row(model: nn.Module, split: Split) -> float:
    """Of one forward pass."""
    rows = split.forget.take(torch.arange(8, device=split.forget.y.device))
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        losses(model(inputs(rows.x)), rows.y)
    return counter.get_total_flops() / 8


if __name__ == "__main__":
    start = perf_counter()
    main()
    print(f"{perf_counter() - start:.0f} s", file=sys.stderr)
