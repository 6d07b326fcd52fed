"""Forget 5 % of the patients with the library alone: python examples/library.py"""

from pathlib import Path

import torch

from service.domain.policy import AuditPlan
from service.domain.recipes import AdamW, Mlp, NablaTau, Spec, Training, Vector
from worker import AuditSets, audit, train, unlearn
from worker.data import Split, read_parquet

HOSPITAL = Path(__file__).parent / "hospital" / "hospital.parquet"


def main(epochs: int = 45) -> None:
    """Print what an attacker can tell before and after."""
    rows, validation, holdout = (read_parquet(HOSPITAL, name)[0] for name in ("train", "validation", "holdout"))
    training = Training(optimizer=AdamW(lr=2e-3, weight_decay=0), schedule="linear", epochs=epochs, batch=128)
    spec = Spec(family=Mlp(hidden=(256, 64)), training=training, input=Vector(features=174), classes=3)
    model = train(spec, rows)

    rng = torch.Generator().manual_seed(0)
    patients = rows.groups.unique()
    gone = torch.isin(rows.groups, patients[torch.randperm(len(patients), generator=rng)[:356]])
    data = Split(retain=rows.take(~gone), forget=rows.take(gone), validation=validation)
    after = unlearn(model, data, NablaTau(), rng=rng).model

    report = audit(model, after, AuditSets(data.forget, holdout, data.retain), AuditPlan())
    print(f"attack AUC {report.headline.auc_before:.3f} before, {report.headline.auc_after:.3f} after")
    print(report.verdict.statement)


if __name__ == "__main__":
    main()
