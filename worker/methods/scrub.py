r"""SCRUB: Towards Unbounded Machine Unlearning. Kurmanji, Triantafillou, Hayes, Triantafillou. NeurIPS 2023.
arXiv:2302.09880; in paired batches in Improving Unlearning with Model Updates Probably Aligned with Gradients. Dine,
Furon, Faure. AISec 2025. arXiv:2511.02435.

    d(x; θ) = T² · KL( p_T(x; θ₀) ‖ p_T(x; θ) ),     p_T = softmax(z / T), θ₀ the original model

    sequential      a pass of max_θ E_{D_f} d(x; θ), in the first epochs only; in every epoch then a pass of
                    min_θ E_{D_r} [ α d(x; θ) + γ ℓ(θ; x, y) ]
    paired          min_θ β · E_{D_r} [ α d(x; θ) + γ ℓ(θ; x, y) ] − (1 − β) · E_{D_f} d(x; θ)

T² is Hinton's (arXiv:1503.02531): soft targets' gradients shrink as 1/T², so it keeps α and γ comparable at every T.
`sequential` has the first paper's SGD, momentum .9, weight decay 5e-4, a rate cut to a tenth after epochs 3, 5 and 9;
`paired` has the second's Adam at a constant rate.

Differs from the papers: the divergence is the first paper's. The second paper's code hands probabilities to a function
of log-probabilities, and has its arguments swapped. One batch size serves both sets. Running statistics are frozen by
default and nothing is dropped, so the first pass of ascent begins where d = 0 and has no slope but weight decay: what
moves the weights from there is the first retain pass.
"""

from collections.abc import Callable
from copy import deepcopy

from torch import Tensor, nn
from torch.optim import SGD, Adam
from torch.optim.lr_scheduler import MultiStepLR

from service.domain.recipes import Scrub
from worker import tasks
from worker.asking import Ask
from worker.data import Batch, Batches, Split
from worker.optimise import Objective, descend, trainable
from worker.registry import method
from worker.teaching import Teacher, teacher
from worker.unlearning import Run

DECAY_AFTER = [3, 5, 9]     # epochs
Loss = Callable[[Ask], Objective]


@method(Scrub)
def scrub(model: nn.Module, data: Split, p: Scrub, run: Run) -> None:
    """The original model is the teacher of the retain rows, and what the forget rows move away from."""
    {"sequential": in_turns, "paired": in_pairs}[p.order](model, data, p, run, teacher(deepcopy(model)))


def in_turns(model: nn.Module, data: Split, p: Scrub, run: Run, original: Teacher) -> None:
    """One pass after the other."""
    D_f, D_r = run.forget(data, p), run.retain(data, p)
    M = min(p.max_epochs, p.epochs)
    gate, progress = run.gate(model, data, p.mask), run.progress(M * D_f.count + p.epochs * D_r.count)
    optimiser = SGD(trainable(model), p.lr, momentum=0.9, weight_decay=5e-4)
    schedule = MultiStepLR(optimiser, DECAY_AFTER, 0.1)
    away, back = leave(D_f, original, p), stay(D_r, original, p)
    kept = {"D_f": D_f, "D_r": D_r, "optimiser": optimiser, "schedule": schedule, "progress": progress}
    for e in run.epochs(p.epochs, model, gate=gate, **kept):
        seen: dict[str, float] = {}
        if e < M:
            seen |= descend(model, away, optimiser, steps=D_f.count, progress=progress, gate=gate)
        seen |= descend(model, back, optimiser, steps=D_r.count, progress=progress, gate=gate)
        schedule.step()
        run.log.append({"epoch": e, **seen})


def in_pairs(model: nn.Module, data: Split, p: Scrub, run: Run, original: Teacher) -> None:
    """One forget and one retain batch per step."""
    D_f, D_r = run.forget(data, p), run.retain(data, p)
    gate, progress = run.gate(model, data, p.mask), run.progress(p.epochs * D_f.count)
    optimiser = Adam(trainable(model), p.lr)
    loss = both(D_f, D_r, original, p)
    for e in run.epochs(p.epochs, model, gate=gate, D_f=D_f, D_r=D_r, optimiser=optimiser, progress=progress):
        seen = descend(model, loss, optimiser, steps=D_f.count, progress=progress, gate=gate)
        run.log.append({"epoch": e, **seen})


def leave(D_f: Batches, original: Teacher, p: Scrub) -> Loss:
    """− d on a forget batch."""

    def loss(ask: Ask) -> Objective:
        f = next(D_f)
        (o_f,), (t_f,) = ask(f), original(f)
        d, _, seen = parting(f, o_f, t_f, p)
        return Objective(forget=-d, seen=seen)

    return loss


def stay(D_r: Batches, original: Teacher, p: Scrub) -> Loss:
    """α d + γ ℓ on a retain batch."""

    def loss(ask: Ask) -> Objective:
        r = next(D_r)
        (o_r,), (t_r,) = ask(r), original(r)
        L, seen = keeping(r, o_r, t_r, p)
        return Objective(retain=L, seen=seen)

    return loss


def both(D_f: Batches, D_r: Batches, original: Teacher, p: Scrub) -> Loss:
    """The two at once."""

    def loss(ask: Ask) -> Objective:
        f, r = next(D_f), next(D_r)
        (o_f, o_r), (t_f, t_r) = ask(f, r), original(f, r)
        d, plain, seen_f = parting(f, o_f, t_f, p)
        L, seen_r = keeping(r, o_r, t_r, p)
        return Objective(retain=L, forget=-d, alpha=1 - p.beta, plain=plain, seen=seen_f | seen_r)

    return loss


def parting(f: Batch, student: Tensor, known: Tensor, p: Scrub) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
    """d and the mean loss of a forget batch, and what to log of them."""
    d, L_f = divergence(f, known, student, p.temperature), f.losses(student).mean()
    return d, L_f, {"forget_loss": L_f.detach(), "forget_divergence": d.detach()}


def keeping(r: Batch, student: Tensor, known: Tensor, p: Scrub) -> tuple[Tensor, dict[str, Tensor]]:
    """α d + γ ℓ of a retain batch, and what to log of it."""
    d, L_r = divergence(r, known, student, p.temperature), r.losses(student).mean()
    return p.alpha * d + p.gamma * L_r, {"retain_loss": L_r.detach(), "retain_divergence": d.detach()}


def divergence(batch: Batch, known: Tensor, student: Tensor, T: float) -> Tensor:
    """T² · KL(teacher ‖ student), the mean over the batch."""
    return T**2 * tasks.divergences(known, student, batch.y, T).mean()
