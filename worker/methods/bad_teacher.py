r"""Can Bad Teaching Induce Forgetting? Unlearning in Deep Networks Using an Incompetent Teacher. Chundawat, Tarun,
Mandal, Kankanhalli. AAAI 2023. arXiv:2205.08096.

    L(θ) = Σ_{x ∈ D_f} KL( T_d(x) ‖ S(x; θ) ) + Σ_{x ∈ D_s} KL( T_s(x) ‖ S(x; θ) ),     divided by |D_f| + |D_s|

T_s is the original model, T_d one with fresh random weights, D_s a random share of the retain rows; both sides at a
temperature.

Differs from the paper: each step takes forget and retain rows in the proportion of the two sets, where the paper
shuffles them into one; so a mask has both gradients at every step, and the expected gradient is the same. The
divergence is summed over the classes; the authors' code divides it by their number, which Adam does not notice. The
student's running statistics are frozen by default.
"""

from collections.abc import Callable
from copy import deepcopy

import torch
from torch import Generator, nn
from torch.optim import Adam

from service.domain.recipes import BadTeacher
from service.errors import BadInput
from worker import tasks
from worker.asking import Ask
from worker.data import Batches, Rows, Split
from worker.optimise import Objective, descend, trainable
from worker.registry import method
from worker.teaching import Teacher, teacher
from worker.training import initialise
from worker.unlearning import Run

FEWEST = 3      # rows of a part of a step: even parts of a pass then have two, which batch statistics need


@method(BadTeacher)
def bad_teacher(model: nn.Module, data: Split, p: BadTeacher, run: Run) -> None:
    """Some epochs over the forget rows and the share of the retain rows."""
    few = Split(some(data.retain, p.retain_share, run.rng), data.forget, data.validation)
    share = len(few.forget) / (len(few.forget) + len(few.retain))
    D_f, D_r = run.forget(few, part(p, share)), run.retain(few, part(p, 1 - share))
    loss = taught(D_f, D_r, share, p, teacher(incompetent(model, run.rng)), teacher(deepcopy(model)))
    steps = max(D_f.count, D_r.count)
    gate, progress = run.gate(model, data, p.mask), run.progress(p.epochs * steps)
    optimiser = Adam(trainable(model), p.lr)
    for e in run.epochs(p.epochs, model, gate=gate, D_f=D_f, D_r=D_r, optimiser=optimiser, progress=progress):
        seen = descend(model, loss, optimiser, steps=steps, progress=progress, gate=gate)
        run.log.append({"epoch": e, **seen})


def taught(
    D_f: Batches, D_r: Batches, share: float, p: BadTeacher, ignorant: Teacher, original: Teacher
) -> Callable[[Ask], Objective]:
    """Each part of a step is answered by its own teacher, and counts by its share of the rows."""

    def loss(ask: Ask) -> Objective:
        f, r = next(D_f), next(D_r)
        (o_f, o_r), (t_f,), (t_r,) = ask(f, r), ignorant(f), original(r)
        d_f = tasks.divergences(t_f, o_f, f.y, p.temperature).mean()
        d_r = tasks.divergences(t_r, o_r, r.y, p.temperature).mean()
        L_f, L_r = f.losses(o_f).mean(), r.losses(o_r).mean().detach()
        seen = {"forget_divergence": d_f.detach(), "retain_divergence": d_r.detach()}
        seen |= {"forget_loss": L_f.detach(), "retain_loss": L_r}
        return Objective(retain=d_r, forget=d_f, alpha=share, plain=L_f, seen=seen)

    return loss


def some(rows: Rows, share: float, rng: Generator) -> Rows:
    """A random share of the rows, one at least."""
    return rows.take(torch.randperm(len(rows), generator=rng)[: max(1, round(share * len(rows)))])


def part(p: BadTeacher, share: float) -> BadTeacher:
    """The recipe with the rows of a step that are due to one of the two sets."""
    return p.model_copy(update={"batch": max(FEWEST, round(share * p.batch))})


def incompetent(model: nn.Module, rng: Generator) -> nn.Module:
    """The same architecture with fresh weights; they are drawn on the CPU, so they are the same on every device.

    Raises:
        BadInput: nobody knows how the weights of one of its modules begin.
    """
    fresh = deepcopy(model).cpu().requires_grad_(requires_grad=False)
    for module in fresh.modules():
        begin(module, rng)
    return fresh.to(next(model.parameters()).device)


def begin(module: nn.Module, rng: Generator) -> None:
    """Fresh weights, by our own rules or by the module's."""
    try:
        initialise(module, rng)
    except TypeError as unknown:
        reset = getattr(module, "reset_parameters", None)
        if reset is None:
            raise BadInput(
                f"a bad teacher needs fresh weights, and {type(module).__name__} has no reset_parameters()"
            ) from unknown
        reset()
