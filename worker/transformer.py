"""The encoder that pictures and texts share: pre-norm blocks of self-attention and a two-layer perceptron.

    x ← x + Attention(LN(x)),     x ← x + MLP(LN(x)),     Attention = softmax(q kᵀ / √d) v

Source: Vaswani et al. 2017, arXiv:1706.03762; norm and sum in the order of Dosovitskiy et al. 2021, arXiv:2010.11929.
"""

from math import sqrt

import torch
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention


class Learned(nn.Module):
    """Rows of numbers that are weights by themselves: positions, or a token of no word."""

    def __init__(self, rows: int, width: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(rows, width))

    def forward(self) -> Tensor:
        """(rows, width)."""
        return self.weight


class Attention(nn.Module):
    """Every place looks at all known places."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)

    def forward(self, x: Tensor, known: Tensor | None) -> Tensor:
        n, L, width = x.shape
        q, k, v = self.qkv(x).view(n, L, 3, self.heads, -1).permute(2, 0, 3, 1, 4)     # (n, heads, L, d) each
        return self.out(attend(q, k, v, known).transpose(1, 2).reshape(n, L, width))


def attend(q: Tensor, k: Tensor, v: Tensor, known: Tensor | None) -> Tensor:
    """(n, heads, L, d) softmax(q kᵀ / √d) v over the known places.

    Torch's fused kernels save memory, but have neither per-sample nor second derivatives, and on a GPU no fixed order
    of sums; so they serve only where nothing is derived.
    """
    mask = None if known is None else known[:, None, None, :]
    if not torch.is_grad_enabled():
        return scaled_dot_product_attention(q, k, v, attn_mask=mask)
    scores = q @ k.transpose(-1, -2) / sqrt(q.shape[-1])
    return (scores if mask is None else scores.masked_fill(~mask, -torch.inf)).softmax(dim=-1) @ v


class Block(nn.Module):
    """One layer of the encoder."""

    def __init__(self, width: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(width)
        self.attention = Attention(width, heads)
        self.norm2 = nn.LayerNorm(width)
        self.mlp = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor, known: Tensor | None) -> Tensor:
        x = x + self.dropout(self.attention(self.norm1(x), known))
        return x + self.dropout(self.mlp(self.norm2(x)))


def encoder(width: int, depth: int, heads: int, dropout: float = 0.0) -> nn.ModuleList:
    """The blocks, one after the other."""
    return nn.ModuleList(Block(width, heads, dropout) for _ in range(depth))


def encoded(blocks: nn.ModuleList, x: Tensor, known: Tensor | None = None) -> Tensor:
    """(n, L, width) after all blocks.

    Args:
        known: (n, L) bool, True where there is something to look at; None where there is everywhere.
    """
    for block in blocks:
        x = block(x, known)
    return x
