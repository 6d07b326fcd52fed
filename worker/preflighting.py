r"""Before a run that ascends: is there anything to forget, and does the ascent lead there?

Ascent Fails to Forget. Mavrothalassitis, Puigdemont, Levi, Cevher. NeurIPS 2025. arXiv:2509.26427.

    G1  L_V − L_F and acc_F − acc_V, V weighted to F's classes, beside ε(δ) = √(ln(2/δ) / 2n), n = |F||V| / (|F| + |V|)
    G2  a classifier of forget against retain rows          (dependence.py)
    G3  n_F(c)/|F| against n_R(c)/|R| in clusters of rows   (dependence.py)
    G4  κ = ⟨g_F, g_V⟩ / |g_F|², g_V on held-out rows: an ascent that raises L_F by d raises L_V by κd
    G5  ⟨d_DA, d_or⟩ < 0:  d_or = −(g_R + λθ),  d_DA = (1 − α) d_or + α g_F

Differs from the paper: Lemma 1 and the lemmas behind G3 and G5 are the paper's, but it names no procedure; the checks,
their thresholds and G4 are ours. Its proxy of dependence, a norm of the forget × retain cross-influence, is not taken.
What is bounded by itself or by a guard is warned of where plain ascent is refused: it stops where unseen rows are.
"""

from dataclasses import dataclass
from math import log, sqrt
from typing import Final

import torch
from scipy.stats import norm
from torch import Generator, Tensor, nn

from service.domain.recipes import Method, NablaTau, NegGrad, NegGradPlus, Scrub, Sgd, Spec
from service.errors import BadInput
from worker import unseen
from worker.checks import Check, Verdict, worst
from worker.data import Rows, Split, inputs
from worker.dependence import Brake, cluster_share, random_set
from worker.gradients import Gradients, inner
from worker.inference import at_rest
from worker.methods.nabla_tau import first_alpha
from worker.optimise import trainable
from worker.tasks import losses

DELTA: Final = 0.05     # chance of a false alarm that G1 allows itself
FEW: Final = 0.1        # an ε above this hides a gap of ten points: the rows are too few to say that there is none
COLLATERAL: Final = 0.5     # κ that is worth a warning; the guard's own default for the same ratio
HARM: Final = 1.0       # κ at which unseen rows lose as much as the forget rows
MIRROR: Final = -0.999  # cosine of g_F and g_V that no held-out rows of a model of some size give
SETTLED: Final = 0.5    # |gradient of the training loss| / |λθ| below which a model is near its optimum
STILL: Final = 1e-6     # |d_or| / |λθ| that is rounding: retraining would leave the weights where they are
CHUNK: Final = 512      # rows of one backward pass


@dataclass(frozen=True)
class Ascent:
    """What the checks know of a method."""

    share: float    # α, of the ascent in (1 − α)·descent + α·ascent; 1: it only ascends, 0: it does not
    brake: Brake    # what ends it where unseen rows are

    @property
    def stops(self) -> bool:
        return self.brake != "none"


@dataclass(frozen=True)
class Preflight:
    """The worst verdict of all checks, and the numbers behind it."""

    verdict: Verdict
    checks: tuple[Check, ...]

    @property
    def numbers(self) -> dict[str, float]:
        """What was measured, by the name of the check."""
        return {check.name: check.value for check in self.checks if check.value is not None}

    def dump(self) -> dict[str, object]:
        """For JSON."""
        return {"verdict": self.verdict, "checks": [check.model_dump(mode="json") for check in self.checks]}


def preflight(
    model: nn.Module, data: Split, method: Method | None = None, *, rng: Generator, spec: Spec | None = None
) -> Preflight:
    """Measure, before the first step, whether the method's ascent can lead to forgetting; nothing is changed.

    Args:
        method: None is the plain sum of descent and ascent, L_R − L_F.
        spec: the recipe that the model was trained by; G5 needs its weight decay.
    Raises:
        BadInput: a part of the split is empty, or no weight may move.
    """
    weights = trainable(model)
    if not weights or not all(map(len, (data.retain, data.forget, data.validation))):
        raise BadInput("a preflight needs a weight that may move, and retain, forget and validation rows")
    data = data.to(weights[0].device)
    ascent, decay = ascent_of(method, data), ridge(spec)
    known = unseen.look(model, data.forget, data.validation)
    g_F, g_V = (mean_gradient(model, rows) for rows in (data.forget, data.validation))
    if not all(t.isfinite().all() for t in (known.forget_losses, known.unseen_losses, *g_F, *g_V)):
        told = "The model's loss or its gradient is not finite on forget or validation rows."
        return Preflight("refuse", (Check(name="G0_finite", verdict="refuse", sentence=told),))
    checks = [
        *something_to_forget(known, unseen.match(data.forget, data.validation), ascent),
        random_set(model, data, brake=ascent.brake, rng=rng),
        cluster_share(model, data, ascent=ascent.share, brake=ascent.brake, rng=rng),
        collateral(g_F, g_V, ascent),
    ]
    if decay:
        g_R, sizes = mean_gradient(model, data.retain), (len(data.forget), len(data.retain))
        checks.append(first_step(g_F, g_R, [decay * w.detach() for w in weights], sizes, ascent))
    else:
        checks.append(Check(name="G5_first_step", sentence="Not asked: no weight decay by gradient is known (λ = 0)."))
    return Preflight(worst(check.verdict for check in checks), tuple(checks))


def ascent_of(method: Method | None, data: Split) -> Ascent:
    """How much of a method's first step is ascent, and whether anything ends it."""
    match method:
        case None:
            return Ascent(0.5, "none")
        case NablaTau():
            return Ascent(first_alpha(method, data), "own")
        case NegGrad() | NegGradPlus() | Scrub():
            guarded = method.guard is not None and method.guard.stop_when_unseen
            return Ascent(ascent_share(method), "guard" if guarded else "none")
        case _:
            return Ascent(0.0, "own")


def ascent_share(method: NegGrad | NegGradPlus | Scrub) -> float:
    """α; passes that take turns have equal shares."""
    match method:
        case NegGrad():
            return 1.0
        case NegGradPlus() | Scrub(order="paired"):
            return 1 - method.beta
        case Scrub():
            return 0.5


def ridge(spec: Spec | None) -> float:
    """λ of ½λ‖θ‖² in the training loss; AdamW's decay is in no loss, so it counts as none."""
    optimizer = None if spec is None else spec.training.optimizer
    return optimizer.weight_decay if isinstance(optimizer, Sgd) else 0.0


def mean_gradient(model: nn.Module, rows: Rows) -> Gradients:
    """∇ of the mean loss over the rows, in evaluation mode; leaves no `.grad`."""
    weights = trainable(model)
    total = [torch.zeros_like(w) for w in weights]
    with at_rest(model), torch.enable_grad():
        for x, y in zip(rows.x.split(CHUNK), rows.y.split(CHUNK), strict=True):
            loss = losses(model(inputs(x)), y).sum() / len(rows)
            for t, g in zip(total, torch.autograd.grad(loss, weights, materialize_grads=True), strict=True):
                t += g
    return total


def something_to_forget(known: unseen.Known, matched: unseen.Matched, ascent: Ascent) -> list[Check]:
    """G1: the forget rows are better known than unseen ones, by accuracy or by loss."""
    n_F, n_V = matched.rows
    if not n_F:
        return [Check(name="G1_gap", verdict="warn", sentence="No validation row has a class of the forget rows.")]
    gaps = {"G1_loss_gap": loss_gap(known, matched)}
    epsilon = hoeffding(n_F * n_V / (n_F + n_V))
    if known.forget_hits is not None and known.unseen_hits is not None:
        by_hits = unseen.mean(known.forget_hits, matched.forget) - unseen.mean(known.unseen_hits, matched.unseen)
        gaps = {"G1_accuracy_gap": (by_hits, epsilon), **gaps}
    verdict, sentence = judged(any(gap > least for gap, least in gaps.values()), epsilon, ascent)
    return [
        Check(name=name, value=gap, threshold=least, verdict=verdict, sentence=sentence)
        for name, (gap, least) in gaps.items()
    ]


def judged(there: bool, epsilon: float, ascent: Ascent) -> tuple[Verdict, str]:
    """G1's verdict: rows too few to tell, and methods that stop by themselves, are warned of."""
    if there:
        return "ok", "The forget rows are better known than unseen rows of their classes."
    if epsilon > FEW:
        return "warn", f"The rows are too few to tell: a gap of {epsilon:.2f} in accuracy would not be seen."
    told = "The forget rows are no better known than unseen rows: there is nothing to forget by ascent."
    return ("warn" if ascent.stops else "refuse"), told


def hoeffding(n: float, delta: float = DELTA) -> float:
    """ε(δ) = √(ln(2/δ) / 2n): a mean of n values in [0, 1] is farther off with a chance below δ."""
    return sqrt(log(2 / delta) / (2 * n))


def loss_gap(known: unseen.Known, matched: unseen.Matched) -> tuple[float, float]:
    """L_V − L_F, and how much of it is chance at δ; a lone forget row's loss is taken for what it is."""
    gap = unseen.mean(known.unseen_losses, matched.unseen) - unseen.mean(known.forget_losses, matched.forget)
    spread = unseen.variance(known.forget_losses, matched.forget)
    return gap, float(norm.isf(DELTA / 2)) * sqrt(spread + unseen.variance(known.unseen_losses, matched.unseen))


def collateral(g_F: Gradients, g_V: Gradients, ascent: Ascent) -> Check:
    """G4: what the unseen rows lose for each unit of loss that the forget rows gain, to first order.

    At an optimum |F|·g_F + |R|·g_R = 0, so gradients of retain rows in the place of held-out ones say nothing.
    """
    kappa, cosine = ratio(g_F, g_V)
    if sum(g.numel() for g in g_F) > 1 and cosine < MIRROR:
        told = "The validation gradient mirrors the forget gradient: its rows were trained upon, and have to be unseen."
        return Check(name="G4_collateral", value=cosine, threshold=MIRROR, verdict="refuse", sentence=told)
    told = f"An ascent that raises the forget loss by 1 changes that of unseen rows by {kappa:+.3g}, to first order."
    if kappa >= HARM and not ascent.stops:
        return Check(name="G4_collateral", value=kappa, threshold=HARM, verdict="refuse", sentence=told)
    verdict: Verdict = "warn" if kappa > COLLATERAL and ascent.share else "ok"
    return Check(name="G4_collateral", value=kappa, threshold=COLLATERAL, verdict=verdict, sentence=told)


def ratio(g_F: Gradients, g_V: Gradients) -> tuple[float, float]:
    """κ and the cosine; zero where a gradient is."""
    product, F, V = (inner(a, b).double() for a, b in ((g_F, g_V), (g_F, g_F), (g_V, g_V)))
    return quotient(product, F), quotient(product, (F * V).sqrt())


def quotient(a: Tensor, b: Tensor) -> float:
    """a/b, or 0 where b is."""
    return (a / b).item() if b else 0.0


def length(g: Gradients) -> float:
    """‖g‖."""
    return inner(g, g).double().sqrt().item()


def directions(g_F: Gradients, g_R: Gradients, decay: Gradients, share: float) -> tuple[Gradients, Gradients]:
    """d_or, where retraining's loss falls, and d_DA, where the method steps; `decay` is λθ."""
    d_or = [-(r + w) for r, w in zip(g_R, decay, strict=True)]
    return d_or, [(1 - share) * d + share * f for d, f in zip(d_or, g_F, strict=True)]


def first_step(
    g_F: Gradients, g_R: Gradients, decay: Gradients, sizes: tuple[int, int], ascent: Ascent
) -> Check:
    """G5: at a ridge optimum the direction in which retraining's loss falls is known; does the method go there?"""
    F, R = sizes
    left = [(F * f + R * r) / (F + R) + w for f, r, w in zip(g_F, g_R, decay, strict=True)]
    unsettled = length(left) / max(length(decay), 1e-12)
    if unsettled > SETTLED:
        told = f"Not asked: the model is not at the optimum of its training loss ({unsettled:.2g} of λθ is left over)."
        return Check(name="G5_first_step", sentence=told)
    d_or, d_DA = directions(g_F, g_R, decay, ascent.share)
    cosine = ratio(d_DA, d_or)[1] if length(d_or) > STILL * length(decay) else 0.0
    verdict: Verdict = "refuse" if cosine <= 0 and ascent.share else "ok"
    told = "towards" if cosine > 0 else "away from"
    told = f"The first step leads {told} what retraining's loss falls along (cosine {cosine:+.3f})."
    return Check(name="G5_first_step", value=cosine, threshold=0.0, verdict=verdict, sentence=told)
