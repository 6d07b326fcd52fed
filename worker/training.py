"""A model from its recipe: built, and trained from scratch. Same rows, same seed, same device: same bits."""

from collections.abc import Generator as Drawn
from contextlib import contextmanager
from math import cos, pi, sqrt

import torch
from torch import Generator, Tensor, nn
from torch.optim import SGD, AdamW, Optimizer
from torch.optim.lr_scheduler import LambdaLR

from service.domain import recipes
from service.domain.architectures import sizes
from service.domain.recipes import Spec, Tokens, Training
from service.errors import BadInput
from worker import augmenting
from worker.asking import Ask
from worker.data import Batches, Rows
from worker.mapped import Mapped
from worker.optimise import Objective, OnStep, Progress, descend, ignore, repeatable, trainable
from worker.registry import family
from worker.resume import Snapshot, epochs
from worker.tasks import task_of
from worker.transformer import Learned

OWN = (recipes.Exported, recipes.Python)
AT_A_TIME = 1 << 16     # rows of words
LOOKED_UP = 0.02        # standard deviation of embeddings and positions, as in BERT and ViT


def train(
    spec: Spec, rows: Rows, *, device: torch.device | str = "cpu", on_step: OnStep = ignore,
    snapshot: Snapshot | None = None,
) -> nn.Module:
    """Train from scratch.

    Args:
        on_step: is told the steps done and in all after each of them; what it raises ends the training.
        snapshot: written after every epoch; a training that finds it goes on from there to the same bits.
    """
    fits(spec, rows)
    rng = torch.Generator().manual_seed(spec.training.seed)
    with repeatable(), drawn_from(rng):
        model, rows = build(spec, rng).to(device), rows.to(device)
        fit(model.train(), rows, spec.training, rng, on_step, snapshot)
    return model.eval()


def fit(
    model: nn.Module, rows: Rows, recipe: Training, rng: Generator, on_step: OnStep, snapshot: Snapshot | None
) -> None:
    """The recipe's epochs over the rows."""
    drawn = Batches(rows, rng, recipe.batch, augmenting.of(recipe.augmentation, rows))
    progress = Progress(recipe.epochs * drawn.count, on_step)
    optimiser = optimiser_of(recipe, model)
    schedule = LambdaLR(optimiser, lambda done: rate(recipe, done / progress.total))
    kept = {"drawn": drawn, "progress": progress, "optimiser": optimiser, "schedule": schedule}

    def objective(ask: Ask) -> Objective:
        batch = next(drawn)
        return Objective(retain=batch.losses(*ask(batch)).mean())

    for _ in epochs(recipe.epochs, model, rng, [], kept, snapshot):
        descend(model, objective, optimiser, steps=drawn.count, progress=progress, schedule=schedule)


@contextmanager
def drawn_from(rng: Generator) -> Drawn[None]:
    """Dropout and augmentation draw from torch's global generators: from a seed here, and given back afterwards."""
    devices = range(torch.cuda.device_count()) if torch.cuda.is_available() else ()
    with torch.random.fork_rng(devices):
        torch.manual_seed(rng.initial_seed() % 2**63)
        yield


def build(spec: Spec, rng: Generator) -> nn.Module:
    """A fresh model on the CPU; its first weights come from `rng` alone."""
    if isinstance(spec.family, OWN):
        return own(spec, seed=int(torch.randint(2**62, (), generator=rng)))
    model = skeleton(spec)
    for module in model.modules():
        initialise(module, rng)
    return model


def skeleton(spec: Spec) -> nn.Module:
    """The modules with weights that nobody has written yet."""
    if isinstance(spec.family, OWN):
        return own(spec, seed=0)
    with torch.device("meta"):
        model = family.find(spec.family)(spec.family, spec.input, spec.classes)
    return model.to_empty(device="cpu")


def own(spec: Spec, seed: int) -> nn.Module:
    """An architecture of the user's own begins as it says itself, drawing from torch's global generator."""
    with drawn_from(torch.Generator().manual_seed(seed)):
        return family.find(spec.family)(spec.family, spec.input, spec.classes)


def initialise(module: nn.Module, rng: Generator) -> None:
    """Torch's own defaults, but from a generator and not from the global seed; what is looked up begins small."""
    match module:
        case nn.Linear() | nn.Conv2d():
            nn.init.kaiming_uniform_(module.weight, a=sqrt(5), generator=rng)
            if module.bias is not None:
                bound = 1 / sqrt(module.weight[0].numel())
                nn.init.uniform_(module.bias, -bound, bound, generator=rng)
        case nn.Embedding() | Learned():
            nn.init.normal_(module.weight, std=LOOKED_UP, generator=rng)
            if isinstance(module, nn.Embedding) and module.padding_idx is not None:
                nn.init.zeros_(module.weight[module.padding_idx])
        case nn.BatchNorm2d() | nn.LayerNorm():
            module.reset_parameters()
        case _:
            if list(module.parameters(recurse=False)):
                raise TypeError(f"nobody said how to initialise {type(module).__name__}")


def optimiser_of(recipe: Training, model: nn.Module) -> Optimizer:
    """The recipe's optimiser over the model's weights."""
    match recipe.optimizer:
        case recipes.Sgd() as o:
            return SGD(trainable(model), o.lr, momentum=o.momentum, weight_decay=o.weight_decay)
        case recipes.AdamW() as o:
            return AdamW(trainable(model), o.lr, weight_decay=o.weight_decay)


def rate(recipe: Training, done: float) -> float:
    """Factor of the learning rate when this share of the steps is done."""
    match recipe.schedule:
        case "constant":
            return 1.0
        case "linear":
            return 1 - done
        case "cosine":
            return (1 + cos(pi * done)) / 2


def fits(spec: Spec, rows: Rows) -> None:
    """Refuse rows that the model cannot take."""
    if not len(rows):
        raise BadInput("there are no rows to train on")
    if tuple(rows.x.shape[1:]) != sizes(spec.input):
        raise BadInput(f"rows of shape {tuple(rows.x.shape[1:])} do not fit inputs of shape {sizes(spec.input)}")
    if isinstance(spec.input, Tokens):
        known(rows.x, spec.input)
    if task_of(rows.y) != spec.task or (spec.task == "multi_label" and rows.y.shape[1] != spec.classes):
        raise BadInput(f"labels of shape {tuple(rows.y.shape)} and type {rows.y.dtype} are not those of a {spec.task}")
    outside = int(((rows.y < 0) | (rows.y >= spec.classes)).sum()) if spec.task == "classification" else 0
    if outside:
        raise BadInput(f"{outside} labels are outside 0 … {spec.classes - 1}")


def known(x: Tensor | Mapped, tokens: Tokens) -> None:
    """Refuse rows that are not numbers of words of this vocabulary."""
    outside = len(x) if x.is_floating_point() else sum(strange(part, tokens.vocabulary) for part in x.split(AT_A_TIME))
    if outside:
        raise BadInput(f"{outside} rows are not numbers of words between 0 and {tokens.vocabulary - 1}")


def strange(x: Tensor, vocabulary: int) -> int:
    """Rows with a number outside the vocabulary."""
    return int(((x < 0) | (x >= vocabulary)).any(dim=1).sum())
