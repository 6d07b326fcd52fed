"""Deep Residual Learning for Image Recognition. He, Zhang, Ren, Sun. CVPR 2016. arXiv:1512.03385.

    y = ReLU(F(x) + W_s x)      F: two 3×3 convolutions with batch normalisation; W_s: 1×1 where the shape changes

Differs from the paper: the stem is the 3×3 convolution of its CIFAR nets, of stride 1 and without max-pooling.
"""

from torch import Tensor, nn
from torch.nn.functional import relu

from service.domain.architectures import picture
from service.domain.recipes import InputShape, ResNet18
from worker.registry import family


@family(ResNet18)
def resnet18(f: ResNet18, shape: InputShape, classes: int) -> nn.Module:
    """(n, C, H, W) → (n, classes)."""
    return Residual(picture(shape).channels, f.width, classes)


class Residual(nn.Module):
    """Four layers of two blocks; each layer doubles the width, and all but the first halve the picture."""

    def __init__(self, channels: int, width: int, classes: int) -> None:
        super().__init__()
        self.conv1 = conv3(channels, width, 1)
        self.bn1 = nn.BatchNorm2d(width)
        self.layer1 = layer(width, width, 1)
        self.layer2 = layer(width, 2 * width, 2)
        self.layer3 = layer(2 * width, 4 * width, 2)
        self.layer4 = layer(4 * width, 8 * width, 2)
        self.head = nn.Linear(8 * width, classes)

    def forward(self, x: Tensor) -> Tensor:
        stem = relu(self.bn1(self.conv1(x)))
        maps = self.layer4(self.layer3(self.layer2(self.layer1(stem))))     # (n, 8·width, h, w)
        return self.head(maps.mean(dim=(2, 3)))


class Block(nn.Module):
    """Two convolutions beside a shortcut."""

    def __init__(self, inside: int, outside: int, stride: int) -> None:
        super().__init__()
        self.conv1, self.bn1 = conv3(inside, outside, stride), nn.BatchNorm2d(outside)
        self.conv2, self.bn2 = conv3(outside, outside, 1), nn.BatchNorm2d(outside)
        self.shortcut = shortcut(inside, outside, stride)

    def forward(self, x: Tensor) -> Tensor:
        inner = relu(self.bn1(self.conv1(x)))
        return relu(self.bn2(self.conv2(inner)) + self.shortcut(x))


def conv3(inside: int, outside: int, stride: int) -> nn.Conv2d:
    """The normalisation that follows has the bias."""
    return nn.Conv2d(inside, outside, 3, stride, padding=1, bias=False)


def layer(inside: int, outside: int, stride: int) -> nn.Module:
    """Two blocks, of which the first may change the shape."""
    return nn.Sequential(Block(inside, outside, stride), Block(outside, outside, 1))


def shortcut(inside: int, outside: int, stride: int) -> nn.Module:
    """Nothing where the shape stays, so that it has no tensors there."""
    if stride == 1 and inside == outside:
        return nn.Identity()
    return nn.Sequential(nn.Conv2d(inside, outside, 1, stride, bias=False), nn.BatchNorm2d(outside))
