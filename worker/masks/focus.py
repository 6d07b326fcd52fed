r"""Improving Unlearning with Model Updates Probably Aligned with Gradients. Dine, Furon, Faure. AISec 2025.
arXiv:2511.02435.

    Δ = − f ⊙ Agg(ĝ_U, ĝ_C),   f_i = P[g_U,i · g_C,i > 0 | ĝ_U, ĝ_C]     (worker/variances.py)

Limit: Adam divides a gradient by its own size, so a factor that is the same at every step is cancelled; what counts
is how a coordinate's f changes. SGD keeps the scale.
"""

from torch import nn

from service.domain.recipes import FocusMask
from worker.data import Split
from worker.gates import Decision, Gate, Opposed
from worker.gradients import shaped
from worker.registry import mask
from worker.variances import Concord, agreement


@mask(FocusMask)
def focus(p: FocusMask, model: nn.Module, _data: Split) -> Gate:
    """Every coordinate moves, by the probability that the true gradients agree."""
    concord = Concord(p.variance, model)

    def decide(both: Opposed) -> Decision:
        f = agreement(concord(both))
        return Decision(shaped(f, both.forget), {"focus": f.mean()})

    return Gate(decide, micro=concord.micro, state=concord)
