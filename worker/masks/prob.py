r"""Improving Unlearning with Model Updates Probably Aligned with Gradients. Dine, Furon, Faure. AISec 2025.
arXiv:2511.02435.

    m_i = 1[ f_i ≥ p ],   f_i = P[g_U,i · g_C,i > 0 | ĝ_U, ĝ_C]     (worker/variances.py)

Differs from the paper: compared is 2f − 1 = ψ_U ψ_C ≥ 2p − 1, which is the same but for rounding, so that p = ½ is the
AND mask whatever the size of the gradients; and a weight that is held does not move by momentum or weight decay.
With `variance="paper"` f is in [.2493, .7507] after the first step: a p below holds nothing, one above is refused.
"""

from torch import nn

from service.domain.recipes import ProbMask
from worker.data import Split
from worker.gates import Decision, Gate, Opposed
from worker.gradients import shaped
from worker.registry import mask
from worker.variances import Concord, agreement


@mask(ProbMask)
def prob(p: ProbMask, model: nn.Module, _data: Split) -> Gate:
    """Where the true gradients agree with probability ≥ p."""
    concord = Concord(p.variance, model)

    def decide(both: Opposed) -> Decision:
        psi = concord(both)
        return Decision(shaped(psi >= 2 * p.p - 1, both.forget), {"focus": agreement(psi.mean())})

    return Gate(decide, micro=concord.micro, state=concord)
