"""A random crop and a mirror image: the usual augmentation of CIFAR papers since

Deep Residual Learning for Image Recognition. He, Zhang, Ren, Sun. CVPR 2016. arXiv:1512.03385, section 4.2.

    x'[i, j] = pad(x)[i + t, j + l],    t, l ~ U{0, …, 2p};     mirrored left to right with probability ½

The padding is of zeros, black, as theirs. Mirrored digits and letters are others: choose it for rows that bear it.
"""

from dataclasses import replace

import torch
from torch import Tensor
from torch.nn.functional import pad

from service.domain.recipes import CropFlip
from worker.augmenting import drawn
from worker.data import Augment, Batch
from worker.registry import augmentation


@augmentation(CropFlip)
def crop_flip(p: CropFlip) -> Augment:
    """With as much padding as the recipe has."""
    return cropped_and_flipped(p.padding)


def cropped_and_flipped(padding: int = CropFlip().padding) -> Augment:
    """Every row its own crop and its own coin; other augmentations begin with it."""
    places = 2 * padding + 1

    def augment(batch: Batch) -> Batch:
        top, left, coin = drawn(batch, 3).to(batch.x.device, non_blocking=True).unbind(dim=1)
        return replace(batch, x=crop(batch.x, (top * places).long(), (left * places).long(), coin < 0.5, padding))

    return augment


def crop(x: Tensor, top: Tensor, left: Tensor, mirror: Tensor, padding: int) -> Tensor:
    """Windows of the padded pictures, which begin at (n,) `top` and `left`, and are mirrored where it is said."""
    n, C, H, W = x.shape
    i, j = (torch.arange(side, device=x.device) for side in (H, W))
    rows = top[:, None] + i                                                     # (n, H)
    columns = left[:, None] + torch.where(mirror[:, None], W - 1 - j, j)        # (n, W)
    padded = pad(x, (padding,) * 4)
    high = padded.gather(2, rows[:, None, :, None].expand(n, C, H, padded.shape[3]))
    return high.gather(3, columns[:, None, None, :].expand(n, C, H, W))
