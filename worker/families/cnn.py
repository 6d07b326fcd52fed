"""Three convolution blocks (3×3, ReLU, pooling) and a linear head; no normalisation layers."""

from collections import OrderedDict

from torch import nn

from service.domain.architectures import picture
from service.domain.recipes import Cnn, InputShape
from worker.registry import family


@family(Cnn)
def cnn(f: Cnn, shape: InputShape, classes: int) -> nn.Module:
    """(n, C, H, W) → (n, classes). A pooling that rounds up takes pictures of any size."""
    image = picture(shape)
    widths = (image.channels, f.width, 2 * f.width, 4 * f.width)
    blocks = {f"block{i}": block(widths[i - 1], widths[i]) for i in (1, 2, 3)}
    cells = -(-image.height // 8) * -(-image.width // 8)
    head = nn.Linear(widths[3] * cells, classes)
    return nn.Sequential(OrderedDict(**blocks, flat=nn.Flatten(), head=head))


def block(inside: int, outside: int) -> nn.Module:
    """Halves height and width."""
    return nn.Sequential(nn.Conv2d(inside, outside, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2, ceil_mode=True))
