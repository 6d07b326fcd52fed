r"""Random labels: Eternal Sunshine of the Spotless Net. Golatkar, Achille, Soatto. CVPR 2020. arXiv:1911.04933;
Amnesiac Machine Learning. Graves, Nagisetty, Ganesh. AAAI 2021. arXiv:2010.10981; under masks in SalUn. Fan, Liu,
Zhang, Wong, Wei, Liu. ICLR 2024. arXiv:2310.12508, and in Improving Unlearning with Model Updates Probably Aligned
with Gradients. Dine, Furon, Faure. AISec 2025. arXiv:2511.02435 (there: SRL).

    L(θ) = β · E_{D_r} ℓ(θ; x, y) + (1 − β) · E_{D_f} ℓ(θ; x, ỹ)

    wrong       ỹ = (y + u) mod K, u uniform on 1 … K − 1: never the true label        (Dine et al.)
    uniform     ỹ uniform on 0 … K − 1: the true label in one row of K                 (SalUn's code)

Labels are drawn anew for each batch. `paired` takes the step above (Dine et al.); `sequential` goes once over the
forget rows and then once over the retain rows in each epoch, without weights (SalUn's code).

Differs from the papers: running statistics are frozen by default; other tasks than classification get labels too, by
our rules in `worker/tasks.py`.
"""

from collections.abc import Callable

from torch import Tensor, nn
from torch.optim import SGD, Adam, Optimizer

from service.domain.recipes import RandomLabel
from worker import tasks
from worker.asking import Ask
from worker.data import Batch, Batches, Split
from worker.optimise import Objective, descend, trainable
from worker.registry import method
from worker.unlearning import Run

LABELS = {"wrong": tasks.wrong_labels, "uniform": tasks.any_labels}
Misled = Callable[[Batch, Tensor], Tensor]      # the mean loss of a batch under labels drawn for it, from its outputs
Loss = Callable[[Ask], Objective]


@method(RandomLabel)
def random_label(model: nn.Module, data: Split, p: RandomLabel, run: Run) -> None:
    """Some epochs over the forget rows, whose labels are drawn."""
    D_f, D_r = run.forget(data, p), run.retain(data, p)
    gate, optimiser = run.gate(model, data, p.mask), optimiser_of(p, model)
    misled = misleading(p, run)
    passes: list[tuple[Loss, int]] = (
        [(together(D_f, D_r, misled, 1 - p.beta), D_f.count)] if p.order == "paired"
        else [(astray(D_f, misled), D_f.count), (back(D_r), D_r.count)]
    )
    progress = run.progress(p.epochs * sum(steps for _, steps in passes))
    for e in run.epochs(p.epochs, model, gate=gate, D_f=D_f, D_r=D_r, optimiser=optimiser, progress=progress):
        seen: dict[str, float] = {}
        for loss, steps in passes:
            seen |= descend(model, loss, optimiser, steps=steps, progress=progress, gate=gate)
        run.log.append({"epoch": e, **seen})


def misleading(p: RandomLabel, run: Run) -> Misled:
    """Labels by the recipe's word; how many classes there are, the outputs tell."""

    def misled(f: Batch, outputs: Tensor) -> Tensor:
        return f.relabelled(lambda y: LABELS[p.labels](y, outputs.shape[1], run.rng)).losses(outputs).mean()

    return misled


def together(D_f: Batches, D_r: Batches, misled: Misled, alpha: float) -> Loss:
    """One forget and one retain batch."""

    def loss(ask: Ask) -> Objective:
        f, r = next(D_f), next(D_r)
        o_f, o_r = ask(f, r)
        L_f, L_r = f.losses(o_f).mean(), r.losses(o_r).mean()
        seen = {"forget_loss": L_f.detach(), "retain_loss": L_r.detach()}
        return Objective(retain=L_r, forget=misled(f, o_f), alpha=alpha, plain=L_f, seen=seen)

    return loss


def astray(D_f: Batches, misled: Misled) -> Loss:
    """A forget batch alone."""

    def loss(ask: Ask) -> Objective:
        f = next(D_f)
        (o_f,) = ask(f)
        return Objective(forget=misled(f, o_f), seen={"forget_loss": f.losses(o_f.detach()).mean()})

    return loss


def back(D_r: Batches) -> Loss:
    """A retain batch alone."""

    def loss(ask: Ask) -> Objective:
        r = next(D_r)
        L_r = r.losses(*ask(r)).mean()
        return Objective(retain=L_r, seen={"retain_loss": L_r.detach()})

    return loss


def optimiser_of(p: RandomLabel, model: nn.Module) -> Optimizer:
    """Adam as in Dine et al., SGD as in SalUn."""
    if p.optimizer == "adam":
        return Adam(trainable(model), p.lr)
    return SGD(trainable(model), p.lr, momentum=0.9, weight_decay=5e-4)
