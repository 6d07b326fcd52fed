r"""Model Sparsity Can Simplify Machine Unlearning. Jia, Liu, Ram, Yao, Liu, Liu, Sharma, Liu. NeurIPS 2023.
arXiv:2304.04934.

    L_t(θ) = E_{D_r} ℓ(θ; x, y) + γ_t ‖θ‖₁,     γ_t = (1 − t/E) · γ,  t = 0 … E − 1

SGD with momentum .9 and weight decay 5e-4 at a constant rate.

Differs from the paper: nothing is pruned first, which is the paper's other proposal; running statistics are frozen by
default; layers that are frozen do not count in the norm.
"""

import torch
from torch import Tensor, nn
from torch.optim import SGD

from service.domain.recipes import L1Sparse
from worker.asking import Ask
from worker.data import Split
from worker.distributed import processes
from worker.optimise import Objective, descend, trainable
from worker.registry import method
from worker.unlearning import Run


@method(L1Sparse)
def l1_sparse(model: nn.Module, data: Split, p: L1Sparse, run: Run) -> None:
    """Some epochs over the retain rows under a penalty that fades."""
    D_r, weights = run.retain(data, p), trainable(model)
    progress = run.progress(p.epochs * D_r.count)
    optimiser = SGD(weights, p.lr, momentum=0.9, weight_decay=5e-4)

    def loss(ask: Ask, gamma: float) -> Objective:
        r = next(D_r)
        L_r, norm = r.losses(*ask(r)).mean(), norm_of(weights)
        # every process has the whole penalty, and their gradients are added up
        penalised = L_r + gamma / processes() * norm
        return Objective(retain=penalised, seen={"retain_loss": L_r.detach(), "l1": norm.detach()})

    for e in run.epochs(p.epochs, model, D_r=D_r, optimiser=optimiser, progress=progress):
        gamma = faded(p.gamma, e, p.epochs)
        seen = descend(model, lambda ask, g=gamma: loss(ask, g), optimiser, steps=D_r.count, progress=progress)
        run.log.append({"epoch": e, "gamma": gamma, **seen})


def norm_of(weights: list[nn.Parameter]) -> Tensor:
    """‖θ‖₁ of the weights that may move."""
    return torch.stack([w.abs().sum() for w in weights]).sum()


def faded(gamma: float, t: int, E: int) -> float:
    """γ_t: all of it in the first epoch, and 1/E less in each one after."""
    return gamma * (1 - t / E)
