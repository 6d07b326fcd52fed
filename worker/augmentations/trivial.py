"""TrivialAugment: Tuning-free Yet State-of-the-Art Data Augmentation. Müller, Hutter. ICCV 2021. arXiv:2103.10158.

    x' = o(x; k/30),    o ~ U{14 operations},   k ~ U{0, …, 30},    the direction by a coin

This is its wide space ("TrivialAugmentWide"), after crop and flip as on CIFAR.
Differs from the paper: pictures of fewer than 32 pixels move by their side at most; the factor of brightness, colour,
contrast and sharpness is 1 ± .99 k/30, where theirs is spread evenly over .01 … 2.
"""

from dataclasses import replace
from math import radians

from service.domain.recipes import Trivial
from worker.augmentations.crop_flip import cropped_and_flipped
from worker.augmentations.pictures import Space, one_each
from worker.augmenting import drawn
from worker.data import Augment, Batch
from worker.registry import augmentation

LEVELS = 31
WIDE = Space(shear=0.99, translate=lambda side: min(32, side), rotate=radians(135), blend=0.99, bits=6)


@augmentation(Trivial)
def trivial(_: Trivial) -> Augment:
    """Crop, flip, and one operation for each picture."""
    first, operations = cropped_and_flipped(), WIDE.operations()

    def augment(batch: Batch) -> Batch:
        batch = first(batch)
        which, level, coin = drawn(batch, 3).unbind(dim=1)
        t = (level * LEVELS).floor() / (LEVELS - 1) * (coin < 0.5).float().mul(2).sub(1)
        return replace(batch, x=one_each(batch.x, (which * len(operations)).long(), t, operations))

    return augment
