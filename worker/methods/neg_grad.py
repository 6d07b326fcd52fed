r"""Gradient ascent (NegGrad): Eternal Sunshine of the Spotless Net. Golatkar, Achille, Soatto. CVPR 2020.
arXiv:1911.04933; Unrolling SGD. Thudi, Deza, Chandrasekaran, Papernot. EuroS&P 2022. arXiv:2109.13398.

    L(θ) = − E_{D_f} ℓ(θ; x, y)

The papers leave optimiser, rate and epochs to their readers. SGD with momentum .9 and weight decay 5e-4 is what the
models of SalUn's and of Ascent Fails to Forget's experiments (Mavrothalassitis et al., NeurIPS 2025, arXiv:2509.26427)
were trained by; the defaults of 1e-4 and five epochs are inside the latter's grid (1e-5 … 5e-2, one to ten epochs).
The loss has no lower bound: stopped too late this ruins the model, which is what the guard watches for.
"""

from torch import nn
from torch.optim import SGD

from service.domain.recipes import NegGrad
from worker.asking import Ask
from worker.data import Split
from worker.optimise import Objective, descend, trainable
from worker.registry import method
from worker.unlearning import Run


@method(NegGrad)
def neg_grad(model: nn.Module, data: Split, p: NegGrad, run: Run) -> None:
    """Some epochs of ascent; the retain rows are not looked at."""
    D_f = run.forget(data, p)
    progress = run.progress(p.epochs * D_f.count)
    optimiser = SGD(trainable(model), p.lr, momentum=0.9, weight_decay=5e-4)

    def loss(ask: Ask) -> Objective:
        f = next(D_f)
        L_f = f.losses(*ask(f)).mean()
        return Objective(forget=-L_f, seen={"forget_loss": L_f.detach()})

    for e in run.epochs(p.epochs, model, D_f=D_f, optimiser=optimiser, progress=progress):
        seen = descend(model, loss, optimiser, steps=D_f.count, progress=progress)
        run.log.append({"epoch": e, **seen})
