r"""The OPT mask of the code of: Improving Unlearning with Model Updates Probably Aligned with Gradients. Dine, Furon,
Faure. AISec 2025. arXiv:2511.02435. The greedy rule is in the authors' code; that it is the paper's is not known.

    ⟨m ⊙ (α ĝ_U + β ĝ_C), ĝ_U⟩ ≥ 0   and   ⟨m ⊙ (α ĝ_U + β ĝ_C), ĝ_C⟩ ≥ 0,     β = 1 − α

Few coordinates are held: those whose products ĝ_U,i · ĝ_C,i are the most negative, one after the other, until both
hold. A tensor whose coordinates all oppose each other may thus be held entirely, and then skips the step.

Differs from the code: both conditions are compared as they stand and not divided by α or β, so either may be zero.
Limit: greedy is not always the fewest (that would need each coordinate's square as well), but never holds one that
agrees.
"""

import torch
from torch import Tensor, nn

from service.domain.recipes import OptMask
from worker.data import Split
from worker.gates import Decision, Gate, Opposed
from worker.gradients import flat, shaped
from worker.registry import mask


@mask(OptMask)
def opt(p: OptMask, _model: nn.Module, _data: Split) -> Gate:
    """The fewest coordinates held, tensor by tensor or over all of them."""

    def each(both: Opposed) -> Decision:
        pairs = zip(both.forget, both.retain, strict=True)
        return Decision([fewest(u.flatten(), c.flatten(), both.alpha).view_as(u) for u, c in pairs])

    def all_at_once(both: Opposed) -> Decision:
        return Decision(shaped(fewest(flat(both.forget), flat(both.retain), both.alpha), both.forget))

    return Gate(each if p.scope == "tensor" else all_at_once)


def fewest(u: Tensor, c: Tensor, alpha: float) -> Tensor:
    """(n,) False at the shortest run of most opposed coordinates without which the weighted sum serves both."""
    order = (u * c).argsort(stable=True)
    u, c = u[order], c[order]
    uu, uc, cc = from_here_on(u * u), from_here_on(u * c), from_here_on(c * c)      # of what is left without i of them
    fails = (alpha * uu + (1 - alpha) * uc < 0) | (alpha * uc + (1 - alpha) * cc < 0)
    held = fails.long().cumprod(0).bool()       # up to the first that does not fail
    return torch.empty_like(held).index_copy(0, order, ~held)


def from_here_on(x: Tensor) -> Tensor:
    """(n,) the sum of x_i … x_n."""
    return x.flip(0).cumsum(0).flip(0)
