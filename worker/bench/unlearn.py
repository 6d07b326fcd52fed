"""How near does each method come to retraining, and at what price? Every number is a mean over seeds.

`auc_ref` is the AUC of forget against holdout of the logit-scaled confidence less its mean over a few retrained models:
an attacker who knows how hard a row is. `gap_closed` is the share of the original's lead over retraining that is gone.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from scipy.stats import t as student
from torch import nn

from service.domain.recipes import AndMask, Method, NablaTau, ProbMask, Retrain
from worker.bench.sources import some
from worker.data import Rows, Split
from worker.inference import accuracy, logits
from worker.metrics import auc, ks
from worker.signals import confidence
from worker.sources import Source
from worker.training import train
from worker.unlearning import unlearn

Numbers = dict[str, float]
OnPart = Callable[[str], object]

RECIPES: dict[str, Method] = {
    "nabla_tau quantile": NablaTau(),
    "nabla_tau mean": NablaTau(target="mean"),
    "nabla_tau quantile, and": NablaTau(mask=AndMask()),
    "nabla_tau quantile, prob": NablaTau(mask=ProbMask()),
    "nabla_tau mean, and": NablaTau(target="mean", mask=AndMask()),
    "nabla_tau mean, prob": NablaTau(target="mean", mask=ProbMask()),
}


@dataclass(frozen=True)
class Judge:
    """Looks at models of one split, with the eyes of an attacker who has retrained some."""

    split: Split
    holdout: Rows
    references: Sequence[nn.Module]
    retrained: nn.Module

    def look(self, model: nn.Module) -> Numbers:
        """What there is to see in one model."""
        return {
            "auc_ref": auc(self.surprise(model, self.split.forget), self.surprise(model, self.holdout)),
            "auc_loss": auc(sure(model, self.split.forget), sure(model, self.holdout)),
            "retain_accuracy": accuracy(model, self.split.retain),
            "forget_accuracy": accuracy(model, self.split.forget),
            "test_accuracy": accuracy(model, self.holdout),
            "ks_to_retrained": ks(sure(model, self.split.forget), sure(self.retrained, self.split.forget)),
        }

    def surprise(self, model: nn.Module, rows: Rows) -> np.ndarray:
        """(n,) confidence beyond that of models that never saw the forget rows."""
        return sure(model, rows) - np.mean([sure(other, rows) for other in self.references], axis=0)


def sure(model: nn.Module, rows: Rows) -> np.ndarray:
    """(n,) logit-scaled confidence in the true class."""
    return confidence(logits(model, rows).numpy(), rows.y.numpy())


def bench(
    source: Source, *, fraction: float, seeds: int, references: int = 3, on_part: OnPart = lambda _: None
) -> dict[str, object]:
    """The whole answer, under the keys that the design names."""
    runs = [one(source, fraction, seed, references, on_part) for seed in range(seeds)]
    retrained = [run["retrain"] for run in runs]
    seen = {"auc_ref_before": "none", "auc_ref_retrained": "retrain"}
    return {
        "dataset": source.name,
        "rows_n": len(source.train),
        "fraction": fraction,
        "seeds": seeds,
        **summary([{"retrain_s": run["s"]} for run in retrained]),
        **summary([{key: run[name]["auc_ref"] for key, name in seen.items()} for run in runs]),
        "retrained": summary(
            [{part: run[f"{part}_accuracy"] for part in ("retain", "forget", "test")} for run in retrained]
        ),
        "rows": [{"recipe": name, **summary([run[name] for run in runs])} for name in runs[0]],
    }


def one(source: Source, fraction: float, seed: int, references: int, on_part: OnPart) -> dict[str, Numbers]:
    """Every recipe on one split, from one original model."""
    split = source.split(some(source.train, fraction, torch.Generator().manual_seed(seed)))
    spec = source.spec.seeded(seed)
    on_part(f"seed {seed}: original and retrained")
    original = train(spec, source.train)
    retrained = unlearn(original, split, Retrain(), rng=torch.Generator(), spec=spec)
    on_part(f"seed {seed}: references")
    others = [train(spec.seeded(1000 * (k + 1) + seed), split.retain) for k in range(references)]
    judge = Judge(split, source.holdout, others, retrained.model)
    found = judged(original, judge, seed, on_part)
    found["none"] = {"s": 0.0, **judge.look(original)}
    found["retrain"] = {"s": retrained.seconds, **judge.look(retrained.model)}
    return {name: seen | distances(seen, found["none"], found["retrain"]) for name, seen in found.items()}


def judged(original: nn.Module, judge: Judge, seed: int, on_part: OnPart) -> dict[str, Numbers]:
    """What each recipe makes of the original."""
    found: dict[str, Numbers] = {}
    for name, recipe in RECIPES.items():
        on_part(f"seed {seed}: {name}")
        result = unlearn(original, judge.split, recipe, rng=torch.Generator().manual_seed(seed))
        found[name] = {"s": result.seconds, **judge.look(result.model)}
    return found


def distances(seen: Numbers, before: Numbers, retrained: Numbers) -> Numbers:
    """What is left between a model and a retrained one."""
    parts = ("auc_ref", "retain_accuracy", "forget_accuracy", "test_accuracy")
    lead = before["auc_ref"] - retrained["auc_ref"]
    return {
        "time_ratio": seen["s"] / retrained["s"],
        "gap_closed": (before["auc_ref"] - seen["auc_ref"]) / lead if lead else 0.0,
        "forget_gap": abs(seen["forget_accuracy"] - retrained["forget_accuracy"]),
        "test_drop": retrained["test_accuracy"] - seen["test_accuracy"],
        "average_gap": float(np.mean([abs(seen[p] - retrained[p]) for p in parts])),
    }


def summary(runs: Sequence[Numbers]) -> dict[str, object]:
    """Each number's mean, and its 95 % t-interval; one seed has none."""
    out: dict[str, object] = {}
    for key in runs[0]:
        values = np.array([run[key] for run in runs])
        out[key] = float(values.mean())
        out[f"{key}_ci"] = interval(values)
    return out


def interval(values: np.ndarray) -> list[float] | None:
    """The 95 % interval of the mean."""
    if len(values) < 2:
        return None
    half = float(student.ppf(0.975, len(values) - 1) * values.std(ddof=1) / np.sqrt(len(values)))
    return [float(values.mean()) - half, float(values.mean()) + half]


def quick(source: Source) -> Source:
    """The same question with a tenth of the epochs: to see that it works, not how well."""
    training = source.spec.training
    shorter = training.model_copy(update={"epochs": max(1, training.epochs // 10)})
    return replace(source, spec=source.spec.model_copy(update={"training": shorter}))
