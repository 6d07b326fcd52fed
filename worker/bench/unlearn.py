"""How near does each method come to retraining, and at what price? Every number is a mean over seeds.

`auc_ref` is the AUC of forget against holdout of the logit-scaled confidence less its mean over a few retrained models:
an attacker who knows how hard a row is. `gap_closed` is the share of the original's lead over retraining that is gone.
"""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from scipy.stats import t as student
from torch import nn

from service.domain.recipes import Method, Retrain
from service.errors import BadInput, Diverged
from worker.bench.contenders import Contender, contenders
from worker.bench.sources import some
from worker.data import Rows, Split
from worker.inference import accuracy, logits
from worker.metrics import Performance, auc, average_gap, ks
from worker.signals import confidence
from worker.sources import Source
from worker.training import train
from worker.unlearning import unlearn

Numbers = dict[str, float]
OnPart = Callable[[str], object]
Key = tuple[str, int]       # a contender, and which of its recipes
NONE, RETRAIN = ("none", 0), ("retrain", 0)


@dataclass(frozen=True)
class Judge:
    """Looks at models of one split, with the eyes of an attacker who has retrained some."""

    split: Split
    holdout: Rows
    hard_forget: np.ndarray     # (n,) mean confidence of models that never saw the forget rows
    hard_holdout: np.ndarray
    retrained: np.ndarray       # (n,) confidence of the retrained model in the forget rows

    @classmethod
    def of(cls, split: Split, holdout: Rows, references: Sequence[nn.Module], retrained: nn.Module) -> "Judge":
        """Ask the models once."""
        forget, unseen = (np.mean([sure(each, r) for each in references], axis=0) for r in (split.forget, holdout))
        return cls(split, holdout, forget, unseen, sure(retrained, split.forget))

    def look(self, model: nn.Module) -> Numbers:
        """What there is to see in one model."""
        forget, holdout = sure(model, self.split.forget), sure(model, self.holdout)
        return {
            "auc_ref": auc(forget - self.hard_forget, holdout - self.hard_holdout),
            "auc_loss": auc(forget, holdout),
            "retain_accuracy": accuracy(model, self.split.retain),
            "forget_accuracy": accuracy(model, self.split.forget),
            "test_accuracy": accuracy(model, self.holdout),
            "ks_to_retrained": ks(forget, self.retrained),
        }


def sure(model: nn.Module, rows: Rows) -> np.ndarray:
    """(n,) logit-scaled confidence in the true class."""
    return confidence(logits(model, rows).numpy(), rows.y.numpy())


def bench(
    source: Source, *, fraction: float, seeds: int, references: int = 3, rates: bool = True,
    only: Collection[str] = (), on_part: OnPart = lambda _: None,
) -> dict[str, object]:
    """The whole answer, under the keys that the design names.

    Args:
        rates, only: see `contenders`.
    """
    field = contenders(rates=rates, only=only)
    runs = [one(source, field, fraction, seed, references, on_part) for seed in range(seeds)]
    retrained = [run[RETRAIN] for run in runs]
    seen = {"auc_ref_before": NONE, "auc_ref_retrained": RETRAIN}
    return {
        "dataset": source.name,
        "rows_n": len(source.train),
        "fraction": fraction,
        "seeds": seeds,
        **summary([{"retrain_s": run["s"]} for run in retrained]),
        **summary([{name: run[key]["auc_ref"] for name, key in seen.items()} for run in runs]),
        "retrained": summary(
            [{part: run[f"{part}_accuracy"] for part in ("retain", "forget", "test")} for run in retrained]
        ),
        "rows": [*rows(field, runs), row("none", None, runs, NONE), row("retrain", None, runs, RETRAIN)],
    }


def rows(field: Sequence[Contender], runs: Sequence[dict[Key, Numbers]]) -> list[dict[str, object]]:
    """Each contender as published, and at its best rate: that of the smallest average gap to these retrained models.

    The best is chosen with the answer in view, which nobody has who has to unlearn: it flatters the others.
    """
    out: list[dict[str, object]] = []
    for each in field:
        out.append(row(each.name, each.recipes[0], runs, (each.name, 0)))
        if len(each.recipes) > 1:
            gaps = [np.mean([run[each.name, i]["average_gap"] for run in runs]) for i in range(len(each.recipes))]
            best = int(np.argmin(np.nan_to_num(gaps, nan=np.inf)))
            out.append(row(f"{each.name}, best of {len(gaps)} rates", each.recipes[best], runs, (each.name, best)))
    return out


def row(name: str, recipe: Method | None, runs: Sequence[dict[Key, Numbers]], key: Key) -> dict[str, object]:
    """One line of the answer."""
    return {"recipe": name, "lr": getattr(recipe, "lr", None), **summary([run[key] for run in runs])}


def one(
    source: Source, field: Sequence[Contender], fraction: float, seed: int, references: int, on_part: OnPart
) -> dict[Key, Numbers]:
    """Every recipe on one split, from one original model."""
    split = source.split(some(source.train, fraction, torch.Generator().manual_seed(seed)))
    spec = source.spec.seeded(seed)
    on_part(f"seed {seed}: original and retrained")
    original = train(spec, source.train)
    retrained = unlearn(original, split, Retrain(), rng=torch.Generator(), spec=spec)
    on_part(f"seed {seed}: references")
    others = [train(spec.seeded(1000 * (k + 1) + seed), split.retain) for k in range(references)]
    judge = Judge.of(split, source.holdout, others, retrained.model)
    found = judged(original, judge, field, seed, on_part)
    found[NONE] = {"s": 0.0, **judge.look(original)}
    found[RETRAIN] = {"s": retrained.seconds, **judge.look(retrained.model)}
    return {key: seen | distances(seen, found[NONE], found[RETRAIN]) for key, seen in found.items()}


def judged(
    original: nn.Module, judge: Judge, field: Sequence[Contender], seed: int, on_part: OnPart
) -> dict[Key, Numbers]:
    """What each recipe makes of the original."""
    found: dict[Key, Numbers] = {}
    for each in field:
        for i, recipe in enumerate(each.recipes):
            on_part(f"seed {seed}: {each.name}")
            found[each.name, i] = attempt(original, judge, recipe, seed)
    return found


def attempt(original: nn.Module, judge: Judge, recipe: Method, seed: int) -> Numbers:
    """One recipe's time and traces; NaN where it cannot run here, or ran the model into NaN."""
    try:
        result = unlearn(original, judge.split, recipe, rng=torch.Generator().manual_seed(seed))
        return {"s": result.seconds, **judge.look(result.model)}
    except (BadInput, Diverged):
        return {"s": float("nan"), **dict.fromkeys(judge.look(original), float("nan"))}


def distances(seen: Numbers, before: Numbers, retrained: Numbers) -> Numbers:
    """What is left between a model and a retrained one."""
    lead = before["auc_ref"] - retrained["auc_ref"]
    return {
        "time_ratio": seen["s"] / retrained["s"],
        "gap_closed": (before["auc_ref"] - seen["auc_ref"]) / lead if lead else 0.0,
        "forget_gap": abs(seen["forget_accuracy"] - retrained["forget_accuracy"]),
        "test_drop": retrained["test_accuracy"] - seen["test_accuracy"],
        "average_gap": average_gap(performance(seen), performance(retrained)).average / 100,
    }


def performance(seen: Numbers) -> Performance:
    """What the average gap compares; its attack is the one with references."""
    forget, retain, test = (seen[f"{part}_accuracy"] for part in ("forget", "retain", "test"))
    return Performance.of(forget=forget, retain=retain, test=test, unseen=1 - seen["auc_ref"])


def summary(runs: Sequence[Numbers]) -> dict[str, object]:
    """Each number's mean, and its 95 % t-interval; one seed has none, and NaN is null."""
    out: dict[str, object] = {}
    for key in runs[0]:
        values = np.array([run[key] for run in runs])
        out[key] = float(values.mean()) if np.isfinite(values).all() else None
        out[f"{key}_ci"] = interval(values)
    return out


def interval(values: np.ndarray) -> list[float] | None:
    """The 95 % interval of the mean."""
    if len(values) < 2 or not np.isfinite(values).all():
        return None
    half = float(student.ppf(0.975, len(values) - 1) * values.std(ddof=1) / np.sqrt(len(values)))
    return [float(values.mean()) - half, float(values.mean()) + half]


def quick(source: Source) -> Source:
    """The same question with a tenth of the epochs: to see that it works, not how well."""
    training = source.spec.training
    shorter = training.model_copy(update={"epochs": max(1, training.epochs // 10)})
    return replace(source, spec=source.spec.model_copy(update={"training": shorter}))
