"""The fourteen operations that TrivialAugment and RandAugment choose from, on batches of pictures in [0, 1].

A strength is (n,) in [−1, 1]: a share of the strongest that a space of operations allows, and a direction where there
is one. Every operation is that of Pillow, on which both papers build, but for rounding to whole levels. A grey picture
has no colour to change, so that `colour` leaves it as it is.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from kornia import enhance
from torch import Tensor
from torch.nn.functional import affine_grid, grid_sample

Operation = Callable[[Tensor, Tensor], Tensor]      # pictures (n, C, H, W) and strengths (n,) → pictures


@dataclass(frozen=True)
class Space:
    """What full strength means."""

    shear: float                                # pixels aside per pixel
    translate: Callable[[int], float]           # pixels, of a side of so many
    rotate: float                               # radians
    blend: float                                # of brightness, colour, contrast, sharpness: how far from the factor 1
    bits: float                                 # of eight, that are dropped

    def operations(self) -> list[Operation]:
        """All fourteen."""
        return [
            identity, autocontrast, equalize, self.solarize, self.posterize,
            self.brightness, self.colour, self.contrast, self.sharpness,
            self.shear_x, self.shear_y, self.translate_x, self.translate_y, self.rotated,
        ]

    def solarize(self, x: Tensor, t: Tensor) -> Tensor:
        """Inverted where it is as light as a threshold, which falls from 256 levels to none."""
        return enhance.solarize(x, (1 - t.abs()) * (256 / 255))

    def posterize(self, x: Tensor, t: Tensor) -> Tensor:
        """Fewer bits for each colour."""
        return enhance.posterize(x, 8 - (t.abs() * self.bits).round().int())

    def brightness(self, x: Tensor, t: Tensor) -> Tensor:
        """Between black and the picture, or beyond it."""
        return enhance.adjust_brightness_accumulative(x, 1 + self.blend * t)

    def colour(self, x: Tensor, t: Tensor) -> Tensor:
        """Between grey and the picture, or beyond it."""
        return enhance.adjust_saturation_with_gray_subtraction(x, 1 + self.blend * t)

    def contrast(self, x: Tensor, t: Tensor) -> Tensor:
        """Between its mean grey and the picture, or beyond it."""
        return enhance.adjust_contrast_with_mean_subtraction(x, 1 + self.blend * t)

    def sharpness(self, x: Tensor, t: Tensor) -> Tensor:
        """Between a smoothed picture and the picture, or beyond it."""
        return enhance.sharpness(x, 1 + self.blend * t)

    def shear_x(self, x: Tensor, t: Tensor) -> Tensor:
        """Each row moves aside as far as it is below the top."""
        k = self.shear * t * (x.shape[2] / x.shape[3])
        return warp(x, [(1, k, k), (0, 1, 0)])

    def shear_y(self, x: Tensor, t: Tensor) -> Tensor:
        """Each column moves as far as it is from the left."""
        k = self.shear * t * (x.shape[3] / x.shape[2])
        return warp(x, [(1, 0, 0), (k, 1, k)])

    def translate_x(self, x: Tensor, t: Tensor) -> Tensor:
        """Moved aside."""
        return warp(x, [(1, 0, t * (2 * self.translate(x.shape[3]) / x.shape[3])), (0, 1, 0)])

    def translate_y(self, x: Tensor, t: Tensor) -> Tensor:
        """Moved up or down."""
        return warp(x, [(1, 0, 0), (0, 1, t * (2 * self.translate(x.shape[2]) / x.shape[2]))])

    def rotated(self, x: Tensor, t: Tensor) -> Tensor:
        """Turned about the middle."""
        cos, sin, ratio = (self.rotate * t).cos(), (self.rotate * t).sin(), x.shape[2] / x.shape[3]
        return warp(x, [(cos, sin * ratio, 0), (-sin / ratio, cos, 0)])


def identity(x: Tensor, _: Tensor) -> Tensor:
    """The picture as it is."""
    return x


def autocontrast(x: Tensor, _: Tensor) -> Tensor:
    """Each colour stretched from black to white; one of a single level stays."""
    low, high = x.amin(dim=(2, 3), keepdim=True), x.amax(dim=(2, 3), keepdim=True)
    return torch.where(high > low, (x - low) / (high - low), x)


def equalize(x: Tensor, _: Tensor) -> Tensor:
    """The levels of each colour used evenly."""
    return enhance.equalize(x)


def warp(x: Tensor, into: Sequence[Sequence[Tensor | float]]) -> Tensor:
    """Each pixel from the nearest to where it comes from; black from outside.

    Args:
        into: two rows of three entries, a number or (n,): from places in the result, −1 … 1, to places in the picture.
    """
    matrix = torch.stack([torch.stack([x.new_zeros(len(x)) + entry for entry in row], dim=1) for row in into], dim=1)
    grid = affine_grid(matrix, list(x.shape), align_corners=False)
    return grid_sample(x, grid, mode="nearest", padding_mode="zeros", align_corners=False)


def one_each(x: Tensor, choice: Tensor, t: Tensor, operations: Sequence[Operation]) -> Tensor:
    """Each picture by its own operation: those of one operation together, and back to their places.

    Args:
        choice, t: (n,) on the CPU, so that the sizes of the groups are known without waiting for the device.
    """
    if not len(x):
        return x                        # a process may be left without a row
    order = choice.argsort(stable=True)
    sizes = choice.bincount(minlength=len(operations)).tolist()
    there, strengths = order.to(x.device, non_blocking=True), t[order].to(x.device, non_blocking=True)
    groups = zip(operations, x[there].split(sizes), strengths.split(sizes), strict=True)
    done = [operation(pictures, strength) for operation, pictures, strength in groups if len(pictures)]
    return torch.cat(done)[there.argsort()]
