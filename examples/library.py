"""Forget every twentieth patient with the library alone: python examples/library.py"""

from pathlib import Path

import torch

from service.domain.policy import AuditPlan
from service.domain.recipes import AdamW, Mlp, NablaTau, Spec, Training, Vector
from worker import AuditSets, audit, train, unlearn
from worker.data import Split, read_parquet

file = Path(__file__).parent / "hospital" / "hospital.parquet"
rows, validation, holdout = (read_parquet(file, name)[0] for name in ("train", "validation", "holdout"))
recipe = Training(optimizer=AdamW(lr=2e-3, weight_decay=0), schedule="linear", epochs=45, batch=128)
spec = Spec(family=Mlp(hidden=(256, 64)), training=recipe, input=Vector(features=174), classes=3)
model = train(spec, rows)
gone = rows.groups % 20 == 0
data = Split(retain=rows.take(~gone), forget=rows.take(gone), validation=validation)
after = unlearn(model, data, NablaTau(), rng=torch.Generator().manual_seed(0)).model
report = audit(model, after, AuditSets(data.forget, holdout, data.retain), AuditPlan(), spec=spec)
print(f"attack AUC {report.headline.auc_before:.3f} before, {report.headline.auc_after:.3f} after")
print(report.verdict.statement)
