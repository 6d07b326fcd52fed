"""How much faster are shadows at once than one after another, and does U-LiRA tell good recipes from bad ones?"""

from time import perf_counter
from typing import Final

import torch

from service.domain.recipe_audits import RecipePlan
from service.domain.recipes import Cnn, Image, NablaTau, Retrain, Spec, Training
from worker.bench.sources import HOSPITAL
from worker.bench.unlearn import quick as shorter
from worker.concluding import Shadows, together
from worker.data import Rows
from worker.shadows import Shadow, one_after_another
from worker.shadows import together as at_once
from worker.sources import Source, read
from worker.threads import suit
from worker.ulira import Part, conclude, work, works

METHODS: Final = {
    "nabla_tau_mean": NablaTau(target="mean"), "nabla_tau_quantile": NablaTau(), "retrain": Retrain(),
}
MODELS: Final = 16


def shadow_speedup(*, quick: bool = False) -> dict[str, object]:
    """Seconds of a loop over seconds at once: 16 networks of the hospital's size, and 16 small convolutional ones."""
    source = hospital()
    few = source.spec.training.model_copy(update={"epochs": 1 if quick else 5})
    mlp = source.spec.model_copy(update={"training": few})
    suit(mlp)
    return {"mlp": speedup(mlp, source.train), "cnn": speedup(*pictures()), "models": MODELS}


def speedup(spec: Spec, rows: Rows) -> float:
    """Each model on 95 % of the rows; both ways once before, since whoever is first pays for imports."""
    g = torch.Generator().manual_seed(0)
    each = [Shadow(torch.randperm(len(rows), generator=g)[: len(rows) * 19 // 20], i) for i in range(MODELS)]
    ways, seconds = (one_after_another, at_once), []
    for way in ways:
        way(spec, rows, each[:2])
    for way in ways:
        start = perf_counter()
        way(spec, rows, each)
        seconds.append(perf_counter() - start)
    return seconds[0] / seconds[1]


def pictures() -> tuple[Spec, Rows]:
    """A thousand of 16 × 16, for one epoch."""
    g = torch.Generator().manual_seed(0)
    rows = Rows(torch.rand(1_000, 3, 16, 16, generator=g), torch.randint(10, (1_000,), generator=g))
    image = Image(channels=3, height=16, width=16)
    return Spec(family=Cnn(width=16), training=Training(epochs=1, batch=64), input=image, classes=10), rows


def ulira(*, shadows: int = 64, quick: bool = False) -> dict[str, object]:
    """AUC on the demo's model of doing nothing, of ∇τ as published and as here, and of retraining, on the same shadows.

    `ulira_s` is what an audit of ∇τ takes from its first shadow to its report; the other methods come after it.
    """
    source = hospital()
    if quick:
        shadows, source = 8, shorter(source)
    suit(source.spec)
    rows = source.train, source.validation, source.holdout
    plan, start = RecipePlan(method=METHODS["nabla_tau_quantile"], shadows=shadows), perf_counter()
    part = work(source.spec, *rows, plan, range(shadows))
    report = conclude([part], plan, spec=source.spec, dataset_sha256=None)
    seconds = perf_counter() - start
    others = {name: method for name, method in METHODS.items() if name != "nabla_tau_quantile"}
    parts = works(source.spec, *rows, plan, range(shadows), list(others.values()))
    aucs = {name: seen(part, plan).auc for name, part in zip(others, parts, strict=True)}
    return {
        "do_nothing": report.before.auc, "nabla_tau_mean": aucs["nabla_tau_mean"],
        "nabla_tau_quantile": report.after.auc, "retrain": aucs["retrain"], "shadows": shadows, "ulira_s": seconds,
    }


def seen(part: Part, plan: RecipePlan) -> Shadows:
    """What is left after the method."""
    whole = together([part], plan)
    return Shadows(plan, whole["phi_after"].astype(float), whole["included"], whole["units"])


def hospital() -> Source:
    """The demo's rows and model."""
    return read(HOSPITAL / "hospital.parquet", HOSPITAL / "model.json")
