"""RandAugment: Practical automated data augmentation with a reduced search space. Cubuk, Zoph, Shlens, Le.
NeurIPS 2020. arXiv:1909.13719.

    x' = o_n(… o_1(x; m/30) …; m/30),   o_i ~ U{14 operations},     the direction by a coin

The strongest operations are AutoAugment's, and it comes after crop and flip as on CIFAR.
Differs from the paper: what a shear, a move or a turn lays bare is black.
"""

from dataclasses import replace
from math import radians

from torch import Tensor

from service.domain.recipes import RandAugment
from worker.augmentations.crop_flip import cropped_and_flipped
from worker.augmentations.pictures import Space, one_each
from worker.augmenting import drawn
from worker.data import Augment, Batch
from worker.registry import augmentation

STRONGEST = 30
SPACE = Space(shear=0.3, translate=lambda side: side * 150 / 331, rotate=radians(30), blend=0.9, bits=4)


@augmentation(RandAugment)
def randaugment(p: RandAugment) -> Augment:
    """Crop, flip, and `n` operations for each picture, one after the other."""
    first, operations = cropped_and_flipped(), SPACE.operations()

    def turn(x: Tensor, draws: Tensor) -> Tensor:
        which, coin = draws.unbind(dim=1)
        t = (coin < 0.5).float().mul(2).sub(1) * (p.m / STRONGEST)
        return one_each(x, (which * len(operations)).long(), t, operations)

    def augment(batch: Batch) -> Batch:
        batch = first(batch)
        x = batch.x
        for draws in drawn(batch, 2 * p.n).split(2, dim=1):
            x = turn(x, draws)
        return replace(batch, x=x)

    return augment
