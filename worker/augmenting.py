"""What is done to training batches, by the recipe's word. Evaluation and audit read rows through `inference` alone."""

import torch
from torch import Tensor

from service.domain.recipes import Augmentation, CropFlip
from service.errors import BadInput
from worker.data import Augment, Batch, Rows
from worker.distributed import processes, share
from worker.registry import augmentation

AT_A_TIME = 1 << 12     # rows whose values are looked at together
TONAL = {"trivial", "randaugment"}      # work on levels of light, so they have to know where black and white are


def of(recipe: Augmentation, rows: Rows) -> Augment | None:
    """The transformation of a batch of such rows; None where there is none.

    Raises:
        BadInput: it does not suit the rows, or needs rows that another process holds.
    """
    if recipe.name == "none":
        return None                     # asked first: the registry would import kornia for it
    if recipe.name == "mixup":
        blendable(rows)
    else:
        pictures(recipe, rows)
    return augmentation.find(recipe)(recipe)


def blendable(rows: Rows) -> None:
    """Refuse what has no mean: the numbers of two words, or rows of two processes."""
    if rows.x.dtype != torch.uint8 and not rows.x.is_floating_point():
        raise BadInput("the augmentation 'mixup' blends rows, and words cannot be blended")
    if processes() > 1:
        raise BadInput("the augmentation 'mixup' blends rows of a batch, which several processes hold: use one")


def pictures(recipe: Augmentation, rows: Rows) -> None:
    """Refuse rows that are no pictures, or too small ones, or of values that have no brightness."""
    if len(rows.x.shape) != 4:
        raise BadInput(f"the augmentation {recipe.name!r} is one of pictures")
    padding = recipe.padding if isinstance(recipe, CropFlip) else CropFlip().padding
    if min(rows.x.shape[2:]) <= padding:
        raise BadInput(f"pictures of {rows.x.shape[2]} × {rows.x.shape[3]} do not bear a padding of {padding}")
    if recipe.name in TONAL and not lit(rows):
        raise BadInput(f"the augmentation {recipe.name!r} takes pictures with values in [0, 1]")


def lit(rows: Rows) -> bool:
    """Whether all values are bytes, or between black and white."""
    return not rows.x.is_floating_point() or all(
        bool(((x >= 0) & (x <= 1)).all()) for x in rows.x.split(AT_A_TIME)
    )


def drawn(batch: Batch, k: int) -> Tensor:
    """(n, k) numbers in [0, 1) for this process's rows, on the CPU.

    They are drawn for the whole batch, so the augmented rows are the same on any device and in any number of processes.
    """
    return share(torch.rand(len(batch), k))
