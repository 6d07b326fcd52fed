"""What does it cost to leave the rows in their file, in time and in memory?

Time: steps of ∇τ on rows in memory, on rows in a file that the kernel still has in memory, and on rows in a file that
it had to let go ("cold": every row comes from the disk). They take turns, a block of steps each, in one process, so
what slows the machine slows all three; a ratio is the median over the blocks of a block's time over that of the
resident block beside it.

Memory: a whole `unlearn()`, its checks of all rows included, up to some steps, in a process of its own for each size
of the file. What a small and a large file differ by is what a row costs: its place and label, not its contents.
That the rows are larger than memory is played by a limit on what the process may allocate, which is half the size of
the large file: rows in the file get by, rows in memory do not.
"""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Literal

import torch
from torch.optim import AdamW

from service.domain.recipes import Cnn, Image, NablaTau, Spec
from service.settings import inherited
from worker.bench.memory import Peak, parts
from worker.data import Batches, Rows, load_tensors
from worker.inference import logits
from worker.mapped import Mapped
from worker.methods.nabla_tau import Quantiles, objective
from worker.optimise import Progress, descend, trainable
from worker.training import build
from worker.unlearning import now

OnPart = Callable[[str], object]
Kind = Literal["resident", "streamed", "cold"]
KINDS: tuple[Kind, ...] = ("resident", "streamed", "cold")
LARGER = 4          # the large file is so many times the small one
CLASSES = 10
AT_A_TIME = 8192    # rows
CPU = torch.device("cpu")


@dataclass(frozen=True)
class Size:
    """How many rows, and how much is done with them."""

    rows: int = 200_000
    side: int = 32      # of the pictures
    width: int = 16     # of the cnn
    batch: int = 256    # rows in a step, half of them to be forgotten
    steps: int = 20     # in a block
    blocks: int = 10    # of each kind

    @property
    def spec(self) -> Spec:
        """The model of such pictures."""
        shape = Image(channels=3, height=self.side, width=self.side)
        return Spec(family=Cnn(width=self.width), input=shape, classes=CLASSES)


def bench(size: Size, *, on_part: OnPart = lambda _: None) -> dict[str, object]:
    """The whole answer, under the keys that the design names."""
    with TemporaryDirectory(prefix="expunge-bench-") as folder:
        small, large = Path(folder) / "small", Path(folder) / "large"
        on_part("writing rows")
        for path, rows in ((small, size.rows), (large, LARGER * size.rows)):
            write(path, rows, size.side)
        return {
            "dataset": f"random pictures of 3×{size.side}×{size.side}",
            "rows_n": size.rows,
            "bytes": small.stat().st_size,
            "threads": torch.get_num_threads(),
            "steps": size.steps * size.blocks,
            **pace(small, large, size, on_part),
            **memory(small, large, size, on_part),
        }


def write(path: Path, rows: int, side: int) -> None:
    """A file as the service writes it, by parts, and on the disk when this returns."""
    rng, row = torch.Generator().manual_seed(0), 3 * side * side
    head = json.dumps({
        "x": {"dtype": "U8", "shape": [rows, 3, side, side], "data_offsets": [0, rows * row]},
        "y": {"dtype": "I64", "shape": [rows], "data_offsets": [rows * row, rows * (row + 8)]},
    }).encode()
    head += b" " * (-len(head) % 8)
    with path.open("wb") as file:
        file.write(len(head).to_bytes(8, "little") + head)
        for part in torch.arange(rows).split(AT_A_TIME):
            file.write(torch.randint(256, (len(part), row), dtype=torch.uint8, generator=rng).numpy().tobytes())
        file.write(torch.randint(CLASSES, (rows,), generator=rng).numpy().tobytes())
        file.flush()
        os.fsync(file.fileno())


def pace(small: Path, large: Path, size: Size, on_part: OnPart) -> dict[str, object]:
    """Seconds of all blocks' steps, by the median block, and the ratios."""
    resident = load_tensors(small)
    rows = {
        "resident": Rows(resident.x[:].clone(), resident.y),
        "streamed": load_tensors(small, resident_mb=0),
        "cold": load_tensors(large, resident_mb=0),
    }
    blocks = {kind: stepping(rows[kind], size) for kind in KINDS}
    seconds: dict[Kind, list[float]] = {kind: [] for kind in KINDS}
    for number in range(size.blocks + 1):
        on_part(f"block {number} of {size.blocks}")
        for kind in KINDS:
            if kind == "cold":
                let_go(rows[kind])
            seconds[kind].append(timed(blocks[kind]))
    first, *others = KINDS
    base = seconds[first][1:]       # the first block warms up
    found: dict[str, object] = {f"{kind}_s": size.blocks * median(seconds[kind][1:]) for kind in KINDS}
    for kind, name in zip(others, ("ratio", "cold_ratio"), strict=True):
        found[name] = median(own / beside for own, beside in zip(seconds[kind][1:], base, strict=True))
    return found


def stepping(rows: Rows, size: Size) -> Callable[[], None]:
    """A block of ∇τ's steps, to be done as often as it is called."""
    split, rng = parts(rows), torch.Generator().manual_seed(0)
    model, recipe = build(size.spec, rng), NablaTau()
    D_f, D_r = (Batches(part, rng, size.batch // 2) for part in (split.forget, split.retain))
    target = Quantiles(recipe)
    target.look(logits(model, split.validation, chunk=size.batch), split.validation.y)
    optimiser, progress = AdamW(trainable(model)), Progress(size.steps)
    loss = objective(target, 0.5, D_f, D_r)

    def block() -> None:
        descend(model, loss, optimiser, steps=size.steps, progress=progress)

    return block


def timed(block: Callable[[], None]) -> float:
    """Seconds."""
    begun = now(CPU)
    block()
    return now(CPU) - begun


def let_go(rows: Rows) -> None:
    """Have the kernel forget what it read of the file."""
    if isinstance(rows.x, Mapped):
        os.posix_fadvise(rows.x.file.descriptor, 0, 0, os.POSIX_FADV_DONTNEED)


def memory(small: Path, large: Path, size: Size, on_part: OnPart) -> dict[str, object]:
    """What processes of their own took up at most, and whether they got by with less than the rows."""
    on_part("memory")
    peaks = {(path, kind): peak(path, kind, size) for path in (small, large) for kind in ("resident", "streamed")}
    cap = large.stat().st_size // 2 >> 20       # none for a benchmark of a few rows
    fits = {kind: bool(peak(large, kind, size, cap_mb=cap)) if cap else None for kind in ("resident", "streamed")}
    streamed = [mib(peaks[path, "streamed"]) for path in (small, large)]
    return {
        "resident_rss_mb": mib(peaks[small, "resident"]),
        "streamed_rss_mb": streamed[0],
        "streamed_rss_growth_mb": streamed[1] - streamed[0],
        "cap_mb": cap,
        "resident_fits_cap": fits["resident"],
        "streamed_fits_cap": fits["streamed"],
        "rows": [
            {"rows_n": n, "file_mb": path.stat().st_size >> 20, "resident_rss_mb": mib(peaks[path, "resident"]),
             "streamed_rss_mb": mib(peaks[path, "streamed"])}
            for path, n in ((small, size.rows), (large, LARGER * size.rows))
        ],
    }


def peak(path: Path, kind: str, size: Size, *, cap_mb: int | None = None) -> Peak | None:
    """Of a child process; None where it did not get the memory it asked for."""
    asked = [str(path), kind, size.spec.model_dump_json(), str(size.batch), str(size.steps), str(cap_mb or 0)]
    done = subprocess.run(
        [sys.executable, "-m", "worker.bench.memory", *asked], capture_output=True, text=True, check=False,
        env=inherited(),
    )
    if done.returncode and not cap_mb:
        raise RuntimeError(done.stderr)
    return None if done.returncode else Peak.model_validate_json(done.stdout)


def mib(found: Peak | None) -> float:
    """The peak's size."""
    return float("nan") if found is None else found.rss_mb
