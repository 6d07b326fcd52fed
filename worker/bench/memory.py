"""A process that forgets rows of a file and says how much memory it took: `python -m worker.bench.memory …`.

Its arguments are those of `main`; the benchmark of streaming starts it.
"""

import os
import resource
import sys
from contextlib import suppress
from pathlib import Path

import torch

from service.domain.recipes import NablaTau, Spec
from service.domain.values import Value
from worker.data import Rows, Split, load_tensors
from worker.training import build
from worker.unlearning import unlearn

FORGET, UNSEEN = 0.02, 2000     # share of the rows to forget; how many are validation rows, a tenth at most


class Peak(Value):
    """What the process had in memory at most, in MiB."""

    rss_mb: float       # all that is counted as its own, pages of files included
    base_mb: float      # before it opened the file


class Halted(Exception):
    """The steps are done."""


def main(path: str, kind: str, spec: str, batch: str, steps: str, cap_mb: str) -> None:
    """Run up to some steps, and print the peak; with a cap of 0 memory has no limit.

    Args:
        kind: resident or streamed.
        spec: JSON of the model's recipe.
    """
    recipe, rng = Spec.model_validate_json(spec), torch.Generator().manual_seed(0)
    model, base = build(recipe, rng), status("VmHWM")
    if int(cap_mb):
        limit = (status("VmData") + int(cap_mb)) << 20
        resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))
    rows = load_tensors(Path(path), resident_mb=0 if kind == "streamed" else None)

    def on_step(done: int, _total: int) -> None:
        if done >= int(steps):
            raise Halted

    with suppress(Halted):
        half = NablaTau(batch=int(batch) // 2, forget_batch=int(batch) // 2)
        unlearn(model, parts(rows), half, rng=rng, on_step=on_step)
    sys.stdout.write(Peak(rss_mb=status("VmHWM"), base_mb=base).model_dump_json())


def parts(rows: Rows) -> Split:
    """Retain, forget and validation rows, chosen at random as a job's are."""
    order = torch.randperm(len(rows), generator=torch.Generator().manual_seed(1))
    unseen, forget = min(UNSEEN, len(rows) // 10), max(1, int(FORGET * len(rows)))
    chosen = order.split([unseen, forget, len(rows) - unseen - forget])
    validation, forgotten, retain = (rows.take(part.sort().values) for part in chosen)
    return Split(retain, forgotten, validation)


def status(name: str) -> int:
    """A size of this process, in MiB. Not `getrusage`: its peak is also that of the process that started this one."""
    lines = Path(f"/proc/{os.getpid()}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(f"{name}:")) >> 10


if __name__ == "__main__":
    main(*sys.argv[1:])
