r"""Learning Explanations that are Hard to Vary. Parascandolo et al. ICLR 2021. arXiv:2009.00329; for unlearning in
Improving Unlearning with Model Updates Probably Aligned with Gradients. Dine, Furon, Faure. AISec 2025.
arXiv:2511.02435.

    m_i = 1[ ĝ_U,i · ĝ_C,i ≥ 0 ]

Differs from the papers: the signs are multiplied, not the values, so that two tiny gradients cannot underflow to
agreement; and a weight that is held does not move by momentum or weight decay either.
"""

from torch import nn

from service.domain.recipes import AndMask
from worker.data import Split
from worker.gates import Decision, Gate, Opposed
from worker.registry import mask


@mask(AndMask)
def and_(_: AndMask, _model: nn.Module, _data: Split) -> Gate:
    """Where the two gradients do not oppose each other."""
    return Gate(agree)


def agree(both: Opposed) -> Decision:
    """True where the signs are equal or one gradient is zero."""
    return Decision([u.sign() * c.sign() >= 0 for u, c in zip(both.forget, both.retain, strict=True)])
