"""Improved Regularization of Convolutional Neural Networks with Cutout. DeVries, Taylor. 2017. arXiv:1708.04552.

    x'[i, j] = 0 where |i − c_i| and |j − c_j| are within half a side,     c ~ U{pixels}, so the square may stick out

It comes after crop and flip, as theirs. The side is a share of the picture's: their 16 of CIFAR's 32 pixels is ½.
Differs from the paper: inputs are in [0, 1] and not centred, so the square is black and not of the mean colour.
"""

from dataclasses import replace

import torch
from torch import Tensor

from service.domain.recipes import Cutout
from worker.augmentations.crop_flip import cropped_and_flipped
from worker.augmenting import drawn
from worker.data import Augment, Batch
from worker.registry import augmentation


@augmentation(Cutout)
def cutout(p: Cutout) -> Augment:
    """Crop, flip, and a square anywhere."""
    first = cropped_and_flipped()

    def cut(batch: Batch) -> Batch:
        batch = first(batch)
        size = max(1, round(p.side * min(batch.x.shape[2:])))
        centre = (drawn(batch, 2) * torch.tensor(batch.x.shape[2:])).long()
        return replace(batch, x=blanked(batch.x, centre.to(batch.x.device, non_blocking=True), size))

    return cut


def blanked(x: Tensor, centre: Tensor, size: int) -> Tensor:
    """Pictures without a square of `size` pixels about (n, 2) `centre`; of an even size it is right of the middle."""
    inside: list[Tensor] = []
    for axis, side in enumerate(x.shape[2:]):
        offset = torch.arange(side, device=x.device) - (centre[:, axis, None] - size // 2)
        inside.append((offset >= 0) & (offset < size))
    return x.masked_fill((inside[0][:, :, None] & inside[1][:, None, :])[:, None], 0)
