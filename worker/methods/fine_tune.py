r"""Fine-tuning: the baseline of nearly every paper of the field, as in the code of ∇τ (Trippa, Campagnano, Bucarelli,
Tolomei, Silvestri, arXiv:2403.14339) and SalUn (Fan et al., ICLR 2024, arXiv:2310.12508).

    L(θ) = E_{D_r} ℓ(θ; x, y)

The forget rows are not looked at: what is forgotten, is forgotten by neglect.
AdamW whose rate falls linearly to a tenth over the epochs, as ∇τ's own schedule does, so that the two can be compared.

Differs from the papers: the last pass may be a part of one.
"""

from math import ceil

from torch import nn
from torch.optim import AdamW
from torch.optim.lr_scheduler import LinearLR

from service.domain.recipes import FineTune
from worker.asking import Ask
from worker.data import Split
from worker.optimise import Objective, descend, trainable
from worker.registry import method
from worker.unlearning import Run


@method(FineTune)
def fine_tune(model: nn.Module, data: Split, p: FineTune, run: Run) -> None:
    """Some passes over the retain rows."""
    D_r = run.retain(data, p)
    R = D_r.count
    total = steps(R, p.passes)
    E, progress = ceil(total / R), run.progress(total)
    optimiser = AdamW(trainable(model), p.lr)
    schedule = LinearLR(optimiser, 1.0, 0.1, total_iters=E)

    def loss(ask: Ask) -> Objective:
        r = next(D_r)
        L_r = r.losses(*ask(r)).mean()
        return Objective(retain=L_r, seen={"retain_loss": L_r.detach()})

    for e in run.epochs(E, model, D_r=D_r, optimiser=optimiser, schedule=schedule, progress=progress):
        seen = descend(model, loss, optimiser, steps=min(R, total - e * R), progress=progress)
        schedule.step()
        run.log.append({"epoch": e, **seen})


def steps(R: int, passes: float) -> int:
    """Batches in so many passes of R each; one at least."""
    return max(1, round(passes * R))
