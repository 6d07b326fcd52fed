"""A transformer encoder for texts: numbers of words are embedded, encoded, and averaged over the words that are there.

    y = head(LN(Σ_i m_i z_i / Σ_i m_i)),     m_i = 1 where there is a word, 0 where a text is filled up

The blocks are those of Vaswani et al., NeurIPS 2017, arXiv:1706.03762, with the norm before each part. The mean over
words in place of a class token is our choice.
"""

import torch
from torch import Tensor, nn

from service.domain.architectures import text
from service.domain.recipes import InputShape, TextTransformer, Tokens
from worker.registry import family
from worker.transformer import Learned, encoded, encoder


@family(TextTransformer)
def text_transformer(f: TextTransformer, shape: InputShape, classes: int) -> nn.Module:
    """(n, L) numbers of words → (n, classes)."""
    return Text(f, text(shape), classes)


class Text(nn.Module):
    """Words through an encoder; what fills a text up is neither looked at nor counted."""

    def __init__(self, f: TextTransformer, tokens: Tokens, classes: int) -> None:
        super().__init__()
        self.words = nn.Embedding(tokens.vocabulary, f.width, padding_idx=0)
        self.positions = Learned(tokens.length, f.width)
        self.dropout = nn.Dropout(f.dropout)
        self.blocks = encoder(f.width, f.depth, f.heads, f.dropout)
        self.norm = nn.LayerNorm(f.width)
        self.head = nn.Linear(f.width, classes)

    def forward(self, x: Tensor) -> Tensor:
        known = (x != 0) | (torch.arange(x.shape[1], device=x.device) == 0)     # a text without words has one place
        z = encoded(self.blocks, self.dropout(self.words(x) + self.positions()), known)     # (n, L, width)
        shares = (known / known.sum(dim=1, keepdim=True))[..., None]
        return self.head(self.norm((z * shares).sum(dim=1)))
