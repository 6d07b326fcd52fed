r"""Fast Machine Unlearning Without Retraining Through Selective Synaptic Dampening. Foster, Schoepf, Brintrup.
AAAI 2024. arXiv:2308.07707.

    I_X,i = E_{(x,y) ∈ X} (∂ℓ(θ; x, y)/∂θ_i)²        the diagonal of the empirical Fisher matrix
    θ_i ← min(λ I_D,i / I_f,i, 1) · θ_i              where I_f,i > α · I_D,i;     D = D_r ∪ D_f

Differs from the paper: nothing; from the authors' code: it squares the mean gradient of a batch, which is the equation
only for batches of one row. Here `batch` is the number of rows whose gradients are in memory together, and has no say
in the result.
"""

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.func import functional_call, grad, vmap
from torch.nn.attention import SDPBackend, sdpa_kernel

from service.domain.recipes import Ssd
from service.errors import Diverged
from worker import tasks
from worker.data import Rows, Split, count, inputs
from worker.distributed import share, summed
from worker.gradients import Gradients
from worker.optimise import Progress, trainable
from worker.registry import method
from worker.unlearning import Run

Each = Callable[[Tensor, Tensor], Gradients]    # of some rows, each row's gradient: (n, *shape of the weight)


@method(Ssd)
def ssd(model: nn.Module, data: Split, p: Ssd, run: Run) -> None:
    """One pass over all rows, and the weights that matter most to the forget rows are made smaller."""
    n_f, n_r = len(data.forget), len(data.retain)
    progress = run.progress(count(n_f, p.batch) + count(n_r, p.batch))
    each = by_row(model)
    of_f, of_r = (squares(each, rows, p.batch, progress) for rows in (data.forget, data.retain))
    I_f, I_D = [s / n_f for s in of_f], [(f + r) / (n_f + n_r) for f, r in zip(of_f, of_r, strict=True)]
    dampened = dampen(trainable(model), I_f, I_D, p)
    run.log.append({"epoch": 0, "dampened": dampened.item()})


def by_row(model: nn.Module) -> Each:
    """Gradients of the loss of each row by itself."""
    weights = {name: w.detach() for name, w in model.named_parameters() if w.requires_grad}

    def loss(at: dict[str, Tensor], x: Tensor, y: Tensor) -> Tensor:
        return tasks.losses(functional_call(model, at, (x[None],)), y[None])[0]

    each = vmap(grad(loss), in_dims=(None, 0, 0))

    def gradients(x: Tensor, y: Tensor) -> Gradients:
        with sdpa_kernel(SDPBackend.MATH):      # the fused kernels of attention cannot be vectorised
            return list(each(weights, inputs(x), y).values())

    return gradients


def squares(each: Each, rows: Rows, size: int, progress: Progress) -> Gradients:
    """Σ (∂ℓ/∂θ)² over the rows and all processes.

    Raises:
        Diverged: naming the first step whose gradients were not finite; looked at once, when all steps are done.
    """
    first, sums, finite = progress.done + 1, None, []
    for x, y in zip(rows.x.split(size), rows.y.split(size), strict=True):
        new = [g.square().sum(dim=0) for g in each(share(x), share(y))]
        finite.append(torch.stack([s.isfinite().all() for s in new]).all())
        sums = new if sums is None else [s + n for s, n in zip(sums, new, strict=True)]
        progress.tick()
    bad = (~torch.stack(finite)).nonzero()
    if len(bad):
        raise Diverged(step=first + int(bad[0]))
    return summed(sums or [])


@torch.no_grad()
def dampen(weights: list[nn.Parameter], I_f: Gradients, I_D: Gradients, p: Ssd) -> Tensor:
    """Shrink what was selected; the share of the weights that were."""
    selected = [f > p.selection * d for f, d in zip(I_f, I_D, strict=True)]
    for w, f, d, chosen in zip(weights, I_f, I_D, selected, strict=True):
        w.mul_(torch.where(chosen, (p.dampening * d / f).clamp(max=1), 1.0))
    return torch.stack([s.sum() for s in selected]).sum() / sum(s.numel() for s in selected)
