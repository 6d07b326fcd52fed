r"""Learning Explanations that are Hard to Vary. Parascandolo et al. ICLR 2021. arXiv:2009.00329; for unlearning in
Improving Unlearning with Model Updates Probably Aligned with Gradients. Dine, Furon, Faure. AISec 2025.
arXiv:2511.02435.

    m_i = 1[ ĝ_U,i · ĝ_C,i ≥ 0 ]

Differs from the papers: the signs are multiplied, not the values, so that two tiny gradients cannot underflow to
agreement; and a weight that is held does not move by momentum or weight decay either.
"""

from torch import Tensor

from service.domain.recipes import AndMask
from worker.gradients import Gradients
from worker.optimise import Gate
from worker.registry import mask


@mask(AndMask)
def and_(_: AndMask) -> Gate:
    """Where the two gradients do not oppose each other."""
    return agree


def agree(forget: Gradients, retain: Gradients) -> list[Tensor]:
    """True where the signs are equal or one gradient is zero."""
    return [u.sign() * c.sign() >= 0 for u, c in zip(forget, retain, strict=True)]
