r"""SalUn: Empowering Machine Unlearning via Gradient-based Weight Saliency. Fan, Liu, Zhang, Wong, Wei, Liu. ICLR 2024.
arXiv:2310.12508.

    m = 1[ |Σ_{(x,y) ∈ D_f} ∇ℓ(θ₀; x, y)| is among the largest keep · d ]

`scope="global"` is the paper's: signed gradients of the original model in evaluation mode are added up over all forget
rows as they are, and ranked over all weights once, before the first step.
`scope="batch"` is what Dine et al. (arXiv:2511.02435) compare with: per tensor, anew at every batch, the coordinates
whose |∇ℓ| of the forget batch is at least its (1 − keep)-quantile, the midpoint of its neighbours.

Differs from the papers: each row counts the same, also those of a shorter last batch; a weight that is held does not
move by momentum or weight decay either; one weight moves at least.
"""

from math import ceil

import torch
from torch import Tensor, nn

from service.domain.recipes import SaliencyMask
from worker import tasks
from worker.data import Rows, Split, inputs
from worker.distributed import share
from worker.gates import Decision, Gate, Held
from worker.gradients import Gradients, flat, gradients, shaped
from worker.inference import at_rest
from worker.optimise import trainable
from worker.registry import mask

CHUNK = 256     # rows whose graph is in memory at a time


@mask(SaliencyMask)
def saliency(p: SaliencyMask, model: nn.Module, data: Split) -> Gate | Held:
    """Where the forget rows pull the most."""
    if p.scope == "batch":
        return Gate(lambda both: Decision([steepest(g, p.keep) for g in both.plain]), plain=True)
    g = pull(model, data.forget)
    return Held(shaped(largest(flat(g).abs(), p.keep), g))


def pull(model: nn.Module, rows: Rows) -> Gradients:
    """Σ ∇ℓ over the rows, at rest."""
    weights = trainable(model)
    total = [torch.zeros_like(w) for w in weights]
    with at_rest(model):
        for x, y in zip(rows.x.split(CHUNK), rows.y.split(CHUNK), strict=True):
            loss = tasks.losses(model(inputs(share(x))), share(y)).sum()
            total = [t + g for t, g in zip(total, gradients(loss, weights), strict=True)]
    return total


def largest(size: Tensor, keep: float) -> Tensor:
    """(d,) True at the ⌊keep · d⌋ largest, one at least."""
    chosen = size.topk(max(1, int(keep * len(size)))).indices
    return torch.zeros_like(size, dtype=torch.bool).index_fill(0, chosen, value=True)


def steepest(g: Tensor, keep: float) -> Tensor:
    """True where |g| is at least the (1 − keep)-quantile of the tensor.

    No value lies between the midpoint and the upper of its two neighbours, so to compare with that one is the same.
    """
    place = ceil((g.numel() - 1) * (1 - keep) - 1e-9)     # of the upper neighbour, from 0
    size = g.abs()
    return size >= size.flatten().kthvalue(place + 1).values
