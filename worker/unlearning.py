"""Forget rows: a method of the menu works on a copy of the model, and what happened is returned."""

from collections.abc import Generator as Drawn
from collections.abc import Iterator
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from time import perf_counter

import torch
from torch import Generator, nn

from service.domain.recipes import Descent, Mask, Method, Spec
from service.errors import BadInput
from worker import augmenting, resume
from worker.asking import BATCH_NORMS
from worker.checkpoint import digest
from worker.data import Batches, Split
from worker.gates import Gate, Held, Stateful
from worker.guarding import Watch, watch
from worker.inference import at_rest
from worker.optimise import OnStep, Progress, ignore, repeatable
from worker.overlap import refuse_overlap
from worker.registry import mask as masks
from worker.registry import method as methods
from worker.resume import Snapshot
from worker.training import drawn_from

Log = dict[str, float]


@dataclass(frozen=True)
class Unlearned:
    """A new module, and how it came about."""

    model: nn.Module
    seconds: float          # wall clock of the method alone
    log: tuple[Log, ...]    # one entry per epoch: forget_loss, retain_loss, density, feasible, tau …
    method: Method


@dataclass(frozen=True)
class Run:
    """What a method may use besides the rows and its recipe."""

    rng: Generator
    spec: Spec | None = None
    on_step: OnStep = ignore
    log: list[Log] = field(default_factory=list)
    snapshot: Snapshot | None = None
    watch: Watch | None = None

    def epochs(
        self, E: int, model: nn.Module, *, gate: Gate | Held | None = None, **kept: Stateful | None
    ) -> Iterator[int]:
        """The epochs that are still to be done; `kept` is all that the method remembers from one to the next.

        The guard, where there is one, looks at the model after each, and may end the run.
        """
        remembered = kept | {"watch": self.watch, "gate": gate.state if isinstance(gate, Gate) else None}
        for e in resume.epochs(E, model, self.rng, self.log, remembered, self.snapshot):
            yield e
            if self.watch and not self.watch.goes_on(model, self.log):
                if self.snapshot:
                    self.snapshot.end()
                return

    def progress(self, steps: int) -> Progress:
        """Counts the steps of the run."""
        return Progress(steps, self.on_step)

    def retain(self, data: Split, p: Descent) -> Batches:
        """Batches of the retain rows, as the recipe has them augmented."""
        return Batches(data.retain, self.rng, p.batch, augmenting.of(p.augment_retain, data.retain))

    def forget(self, data: Split, p: Descent) -> Batches:
        """Batches of the forget rows, as the recipe has them augmented."""
        return Batches(data.forget, self.rng, p.batch, augmenting.of(p.augment_forget, data.forget))

    def gate(self, model: nn.Module, data: Split, p: Mask) -> Gate | Held | None:
        """What decides which weights may move."""
        return masks.find(p)(p, model, data)


def unlearn(
    model: nn.Module,
    data: Split,
    method: Method,
    *,
    rng: Generator,
    spec: Spec | None = None,
    on_step: OnStep = ignore,
    snapshot: Path | None = None,
) -> Unlearned:
    """Make a model that does not know the forget rows; the arguments stay as they are.

    Args:
        spec: the model's recipe; only retraining needs it.
        on_step: is told the steps done and in all after each of them; what it raises ends the run.
        snapshot: a file that is written after every epoch; a run that finds it goes on from there to the same bits.
    Raises:
        BadInput: a part of the split is empty or is in another part too, or the method lacks something.
        Diverged: a loss was not finite.
    """
    complete(data)
    copy = deepcopy(model)
    device = next(copy.parameters()).device
    data = data.to(device)
    kept = Snapshot(snapshot, name_of(model, data, method, rng)) if snapshot else None
    start = now(device)
    with at_rest(copy), repeatable(), drawn_from(rng):
        run = Run(rng, spec, on_step, snapshot=kept, watch=watch(copy, data, method))
        with norms(copy, method):
            methods.find(method)(copy, data, method, run)
    return Unlearned(copy, now(device) - start, tuple(run.log), method)


@contextmanager
def norms(model: nn.Module, method: Method) -> Drawn[None]:
    """Running statistics move if the recipe says so; nothing else leaves evaluation mode."""
    moving = [m for m in model.modules() if isinstance(m, BATCH_NORMS)] if getattr(method, "bn", "") == "train" else []
    for module in moving:
        module.train()
    yield


def complete(data: Split) -> None:
    """Refuse a split of which a part is empty, or rows are in two parts."""
    empty = [name for name in ("retain", "forget", "validation") if not len(getattr(data, name))]
    if empty == ["retain"]:
        raise BadInput("these parts of the split have no rows: retain. To forget everything, delete the model")
    if empty:
        raise BadInput(f"these parts of the split have no rows: {', '.join(empty)}")
    if len({part.x.shape[1:] for part in (data.retain, data.forget, data.validation)}) > 1:
        raise BadInput("the parts of the split differ in the shape of their rows")
    refuse_overlap(data)


def name_of(model: nn.Module, data: Split, method: Method, rng: Generator) -> str:
    """What tells this run from every other."""
    sizes = ".".join(str(len(part)) for part in (data.retain, data.forget, data.validation))
    told = f"{digest(model)} {sizes} {rng.initial_seed()} {method.model_dump_json()}"
    return sha256(told.encode()).hexdigest()


def now(device: torch.device) -> float:
    """Seconds, once the device has done what it was told."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return perf_counter()
