"""Very Deep Convolutional Networks for Large-Scale Image Recognition. Simonyan, Zisserman. ICLR 2015. arXiv:1409.1556.

Configuration D: 3×3 convolutions of 64·(1 1, 2 2, 4 4 4, 8 8 8, 8 8 8) maps, pooled after each group.

Differs from the paper: batch normalisation after every convolution; the mean over the last maps and one linear head
in place of three wide layers; a pooling that rounds up, so that pictures of any size fit.
"""

from collections import OrderedDict
from itertools import chain, pairwise

from torch import nn

from service.domain.architectures import VGG16, picture
from service.domain.recipes import InputShape, Vgg16Bn
from worker.registry import family


@family(Vgg16Bn)
def vgg16_bn(f: Vgg16Bn, shape: InputShape, classes: int) -> nn.Module:
    """(n, C, H, W) → (n, classes)."""
    inside, blocks = picture(shape).channels, OrderedDict[str, nn.Module]()
    for i, times in enumerate(VGG16, start=1):
        widths = [f.width * t for t in times]
        blocks[f"block{i}"] = block([inside, *widths])
        inside = widths[-1]
    tail = OrderedDict(mean=nn.AdaptiveAvgPool2d(1), flat=nn.Flatten(), head=nn.Linear(inside, classes))
    return nn.Sequential(OrderedDict(**blocks, **tail))


def block(widths: list[int]) -> nn.Module:
    """Convolutions from each width to the next; halves height and width."""
    layers = chain.from_iterable(convolution(inside, outside) for inside, outside in pairwise(widths))
    return nn.Sequential(*layers, nn.MaxPool2d(2, ceil_mode=True))


def convolution(inside: int, outside: int) -> tuple[nn.Module, ...]:
    """The normalisation has the bias."""
    return nn.Conv2d(inside, outside, 3, padding=1, bias=False), nn.BatchNorm2d(outside), nn.ReLU()
