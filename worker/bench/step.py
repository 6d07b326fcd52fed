"""What does a step of each method cost, beside one plain training step on a batch of the same total size?

Measured are steps of whole runs of `unlearn()`, each between two steps of the floor: after each the run is halted, a
step of the floor is timed, and the run goes on. A step's ratio is its time over the mean of its neighbours', so what
slows the machine slows both; every number is a median. The first step, in which optimisers make their moments, does not
count, nor does what is done once per epoch, because a run is one epoch long.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from statistics import median

import torch
from pydantic import TypeAdapter
from torch import nn
from torch.optim import AdamW

from service.domain.recipes import Descent, Image, Mask, Method, OptMask, ProbMask, ResNet18, SaliencyMask, Spec
from service.domain.values import Value
from worker.asking import Ask
from worker.data import Batch, Rows, Split
from worker.registry import mask as masks
from worker.registry import method as methods
from worker.training import build
from worker.unlearning import now, unlearn

OnPart = Callable[[str], object]
METHOD: TypeAdapter[Method] = TypeAdapter(Method)
MASK: TypeAdapter[Mask] = TypeAdapter(Mask)
CLASSES = 10
SHARED = {"bad_teacher"}    # their batch is of both sets together
ONE_EPOCH = {"epochs": 1, "passes": 1.0, "order": "paired", "retain_share": 1.0}    # where a method has such a field
VARIANTS: dict[str, list[tuple[str, Mask]]] = {     # of masks whose price depends on a field
    "prob": [("prob", ProbMask()), ("prob-sem", ProbMask(variance="sem"))],
    "saliency": [("saliency-global", SaliencyMask()), ("saliency-batch", SaliencyMask(scope="batch"))],
    "opt": [("opt", OptMask()), ("opt-global", OptMask(scope="global"))],
}


@dataclass(frozen=True)
class Size:
    """How much a step has to do, and how many of them count."""

    batch: int = 256    # rows in all; half of them are to be forgotten where a step has both
    width: int = 16     # of the ResNet-18
    side: int = 32      # of the pictures
    repeats: int = 5

    def spec(self) -> Spec:
        """The model of such pictures."""
        shape = Image(channels=3, height=self.side, width=self.side)
        return Spec(family=ResNet18(width=self.width), input=shape, classes=CLASSES)


@dataclass(frozen=True)
class Case:
    """One row of the answer."""

    method: str
    mask: str
    recipe: Method
    rows: int       # that a step takes of each set that it looks at


@dataclass
class Pace:
    """Times the steps of a run; to be told of each."""

    floor: Callable[[], object]
    clock: Callable[[], float]      # in seconds
    ms: list[float] = field(default_factory=list)
    floor_ms: list[float] = field(default_factory=list)
    since: float | None = None

    def __call__(self, _done: int, _total: int) -> None:
        """A step is done; the next begins when this returns."""
        reached = self.clock()
        if self.since is not None:
            self.ms.append(1000 * (reached - self.since))
        begun = self.clock()
        self.floor()
        self.since = self.clock()
        self.floor_ms.append(1000 * (self.since - begun))

    def ratio(self) -> float:
        """Each step against the floor before and after it."""
        beside = zip(self.floor_ms, self.floor_ms[1:], strict=False)
        return median(step / ((a + b) / 2) for step, (a, b) in zip(self.ms, beside, strict=True))


def bench(
    size: Size, *, only: Sequence[str] = (), device: str = "cpu", on_part: OnPart = lambda _: None
) -> dict[str, object]:
    """The whole answer, under the keys that the design names.

    Args:
        only: names of methods; all of them if none is named.
    """
    spec = size.spec()
    model = build(spec, torch.Generator().manual_seed(0)).to(device).eval()
    floor = plain_step(spec, size, device)
    paces: dict[tuple[str, str], Pace] = {}
    for case in cases(size.batch, only):
        on_part(f"{case.method}, {case.mask}")
        paces[case.method, case.mask] = pace(case, model, size, floor)
    return {
        "dataset": f"random pictures of 3×{size.side}×{size.side}",
        "device": device,
        "threads": torch.get_num_threads(),
        "batch": size.batch,
        "width": size.width,
        "repeats": size.repeats,
        "floor_ms": median(ms for each in paces.values() for ms in each.floor_ms),
        "rows": [
            {"method": method, "mask": mask, "ms": median(each.ms), "ratio": each.ratio()}
            for (method, mask), each in paces.items()
        ],
    }


def cases(batch: int, only: Sequence[str] = ()) -> Iterator[Case]:
    """Every method of the menu that takes steps, under every mask that it takes."""
    for recipe in methods.recipes():
        name: str = recipe.model_fields["name"].default
        if not issubclass(recipe, Descent) or (only and name not in only):
            continue
        if "mask" not in recipe.model_fields:       # it follows one loss, on batches of one set of rows
            yield Case(name, "none", one_epoch(recipe, batch), batch)
            continue
        for mask, value in every_mask():
            whole = one_epoch(recipe, batch if name in SHARED else batch // 2, value)
            yield Case(name, mask, whole, batch // 2)


def every_mask() -> Iterator[tuple[str, Mask]]:
    """The masks of the menu; some of them more than once."""
    for recipe in masks.recipes():
        name: str = recipe.model_fields["name"].default
        yield from VARIANTS.get(name) or [(name, MASK.validate_python({"name": name}))]


def one_epoch(recipe: type[Value], batch: int, mask: Mask | None = None) -> Method:
    """The method's own settings, but for the length of the run and its batches."""
    short = {key: value for key, value in ONE_EPOCH.items() if key in recipe.model_fields}
    sizes = {size: batch for size in ("batch", "forget_batch") if size in recipe.model_fields}
    held = {} if mask is None else {"mask": mask}
    return METHOD.validate_python({"name": recipe.model_fields["name"].default} | sizes | short | held)


def pace(case: Case, model: nn.Module, size: Size, floor: Callable[[], object]) -> Pace:
    """The steps of one run, on as many rows as it takes."""
    device = next(model.parameters()).device
    found = Pace(floor, lambda: now(device))
    n = (size.repeats + 1) * case.rows
    split = Split(*(noise(rows, size.side, seed) for seed, rows in enumerate((n, n, 64), start=1)))
    unlearn(model, split, case.recipe, rng=torch.Generator().manual_seed(0), on_step=found)
    return found


def noise(n: int, side: int, seed: int) -> Rows:
    """Pictures of nothing, of random classes."""
    rng = torch.Generator().manual_seed(seed)
    return Rows(torch.rand(n, 3, side, side, generator=rng), torch.randint(CLASSES, (n,), generator=rng))


def plain_step(spec: Spec, size: Size, device: str) -> Callable[[], None]:
    """Forward, backward and AdamW, in training mode, on a batch that is there; done once already."""
    model = build(spec, torch.Generator().manual_seed(0)).to(device).train()
    optimiser, ask, rows = AdamW(model.parameters()), Ask(model), noise(size.batch, size.side, seed=0).to(device)
    given = Batch(rows.x[:], rows.y)

    def step() -> None:
        given.losses(*ask(given)).mean().backward()
        optimiser.step()
        optimiser.zero_grad()

    step()
    return step
