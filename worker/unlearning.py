"""Forget rows: a method of the menu works on a copy of the model, and what happened is returned."""

from collections.abc import Iterator
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
from worker.data import Augment, Batches, Rows, Split
from worker.gates import Gate, Held, Stateful
from worker.guarding import Watch, watch
from worker.inference import at_rest, logits
from worker.optimise import OnStep, Progress, ignore, repeatable, trainable
from worker.overlap import fingerprint, refuse_overlap
from worker.registry import mask as masks
from worker.registry import method as methods
from worker.resume import Snapshot
from worker.tasks import refuse_labels, task_of
from worker.training import drawn_from
from worker.weights import digest

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
    whole: bool = False     # whether statistics over a batch are taken, which a lone row has none of

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
        return self._batches(data.retain, p.batch, augmenting.of(p.augment_retain, data.retain))

    def forget(self, data: Split, p: Descent) -> Batches:
        """Batches of the forget rows, as the recipe has them augmented."""
        return self._batches(data.forget, p.of_forget, augmenting.of(p.augment_forget, data.forget))

    def gate(self, model: nn.Module, data: Split, p: Mask) -> Gate | Held | None:
        """What decides which weights may move."""
        return masks.find(p)(p, model, data)

    def _batches(self, rows: Rows, size: int, augment: Augment | None) -> Batches:
        drawn = Batches(rows, self.rng, size, augment)
        if self.whole and len(rows) // drawn.count < 2:
            raise BadInput("the running statistics of a lone row are that row: bn=frozen, or larger batches")
        return drawn


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
    copy.zero_grad()        # what its training left there is of the rows
    device = next(copy.parameters()).device
    data = data.to(device)
    answerable(copy, data)
    kept = Snapshot(snapshot, name_of(copy, data, method, rng, spec)) if snapshot else None
    start = now(device)
    with at_rest(copy), repeatable(), drawn_from(rng):
        moving = norms(copy, method)
        run = Run(rng, spec, on_step, snapshot=kept, watch=watch(copy, data, method), whole=bool(moving))
        for module in moving:
            module.train()
        methods.find(method)(copy, data, method, run)
    return Unlearned(copy, now(device) - start, tuple(run.log), method)


def norms(model: nn.Module, method: Method) -> list[nn.Module]:
    """The layers whose running statistics move, if the recipe says so; nothing else leaves evaluation mode."""
    return [m for m in model.modules() if isinstance(m, BATCH_NORMS)] if getattr(method, "bn", "") == "train" else []


def complete(data: Split) -> None:
    """Refuse a split of which a part is empty, or rows are in two parts."""
    empty = [name for name in ("retain", "forget", "validation") if not len(getattr(data, name))]
    if empty == ["retain"]:
        raise BadInput("these parts of the split have no rows: retain. To forget everything, delete the model")
    if empty:
        raise BadInput(f"these parts of the split have no rows: {', '.join(empty)}")
    parts = (data.retain, data.forget, data.validation)
    if len({part.x.shape[1:] for part in parts}) > 1:
        raise BadInput("the parts of the split differ in the shape of their rows")
    if len({(task_of(part.y), part.y.shape[1:]) for part in parts}) > 1:
        raise BadInput("the parts of the split differ in the kind of their labels")
    refuse_overlap(data)


def answerable(model: nn.Module, data: Split) -> None:
    """Refuse a model of which no weight may move, and labels that are none of its outputs."""
    if not trainable(model):
        raise BadInput("every weight of the model is frozen, so it cannot forget")
    try:
        outputs = logits(model, data.validation.take(torch.zeros(1, dtype=torch.long))).shape[1:].numel()
    except RuntimeError as error:
        raise BadInput(f"the model does not take rows of shape {tuple(data.validation.x.shape[1:])}") from error
    for part in (data.retain, data.forget, data.validation):
        refuse_labels(part.y, outputs)


def name_of(model: nn.Module, data: Split, method: Method, rng: Generator, spec: Spec | None) -> str:
    """What tells this run from every other."""
    told = sha256(f"{digest(model)} {method!r} {spec!r}".encode() + rng.get_state().numpy().tobytes())
    for part in (data.retain, data.forget, data.validation):
        told.update(fingerprint(part))
    return told.hexdigest()


def now(device: torch.device) -> float:
    """Seconds, once the device has done what it was told."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return perf_counter()
