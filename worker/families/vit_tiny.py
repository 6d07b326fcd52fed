"""An Image is Worth 16x16 Words: Transformers for Image Recognition at Scale. Dosovitskiy, Beyer, Kolesnikov,
Weissenborn, Zhai, Unterthiner, Dehghani, Minderer, Heigold, Gelly, Uszkoreit, Houlsby. ICLR 2021. arXiv:2010.11929.

    z_0 = [token; x_1 E; …; x_N E] + positions,     y = head(LN(z_depth of the token))

Of the size of DeiT-Ti (Touvron et al., ICML 2021, arXiv:2012.12877): width 192, 12 blocks, 3 heads. The class token is
read, as in both papers.

Differs from the papers: patches of 4 by default, for pictures of 32 × 32; no dropout and no stochastic depth.
"""

import torch
from torch import Tensor, nn

from service.domain.architectures import patches, picture
from service.domain.recipes import InputShape, VitTiny
from worker.registry import family
from worker.transformer import Learned, encoded, encoder


@family(VitTiny)
def vit_tiny(f: VitTiny, shape: InputShape, classes: int) -> nn.Module:
    """(n, C, H, W) → (n, classes)."""
    return Vision(f, picture(shape).channels, patches(f, shape), classes)


class Vision(nn.Module):
    """Patches and a class token through an encoder."""

    def __init__(self, f: VitTiny, channels: int, n: int, classes: int) -> None:
        super().__init__()
        self.patches = nn.Conv2d(channels, f.width, f.patch, f.patch)
        self.token = Learned(1, f.width)
        self.positions = Learned(n + 1, f.width)
        self.blocks = encoder(f.width, f.depth, f.heads)
        self.norm = nn.LayerNorm(f.width)
        self.head = nn.Linear(f.width, classes)

    def forward(self, x: Tensor) -> Tensor:
        cut = self.patches(x).flatten(2).transpose(1, 2)                                    # (n, N, width)
        z = torch.cat([self.token().expand(len(x), 1, -1), cut], dim=1) + self.positions()     # (n, N + 1, width)
        return self.head(self.norm(encoded(self.blocks, z)[:, 0]))
