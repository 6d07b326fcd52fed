r"""Towards Unbounded Machine Unlearning. Kurmanji, Triantafillou, Hayes, Triantafillou. NeurIPS 2023. arXiv:2302.09880;
with masks in Improving Unlearning with Model Updates Probably Aligned with Gradients. Dine, Furon, Faure. AISec 2025.
arXiv:2511.02435.

    L(θ) = β · E_{D_r} ℓ(θ; x, y) − (1 − β) · E_{D_f} ℓ(θ; x, y)

Settings are those of the second paper's code: Adam at a constant 1e-4 without weight decay, β = .95, thirty epochs over
the forget rows, each batch of which is met by a retain batch.

Differs from the papers: running statistics are frozen by default, and the retain rows go on where the last forget-epoch
left them, so a retain set larger than the forget set is seen whole.
"""

from torch import nn
from torch.optim import Adam

from service.domain.recipes import NegGradPlus
from worker.asking import Ask
from worker.data import Split
from worker.optimise import Objective, descend, trainable
from worker.registry import method
from worker.unlearning import Run


@method(NegGradPlus)
def neg_grad_plus(model: nn.Module, data: Split, p: NegGradPlus, run: Run) -> None:
    """Descent on the retain rows while the forget rows are ascended on."""
    D_f, D_r = run.forget(data, p), run.retain(data, p)
    gate, progress = run.gate(model, data, p.mask), run.progress(p.epochs * D_f.count)
    optimiser = Adam(trainable(model), p.lr)

    def loss(ask: Ask) -> Objective:
        f, r = next(D_f), next(D_r)
        o_f, o_r = ask(f, r)
        L_f, L_r = f.losses(o_f).mean(), r.losses(o_r).mean()
        seen = {"forget_loss": L_f.detach(), "retain_loss": L_r.detach()}
        return Objective(retain=L_r, forget=-L_f, alpha=1 - p.beta, seen=seen)

    for e in run.epochs(p.epochs, model, gate=gate, D_f=D_f, D_r=D_r, optimiser=optimiser, progress=progress):
        seen = descend(model, loss, optimiser, steps=D_f.count, progress=progress, gate=gate)
        run.log.append({"epoch": e, **seen})
