"""Models whose logits are looked up, so that a test decides what an attacker sees."""

import numpy as np
import torch
from torch import nn

from service.domain.policy import AuditPlan
from service.domain.recipes import Population
from worker.auditing import AuditSets
from worker.data import Rows

QUICK = AuditPlan(rungs=(Population(conventions=False),), alpha=0.005, permutations=499, bootstrap=400)


class Table(nn.Module):
    """Answers row number x[:, 0] with a row of logits."""

    def __init__(self, logits):
        super().__init__()
        self.logits = nn.Parameter(torch.as_tensor(logits, dtype=torch.float32))

    def forward(self, x):
        return self.logits[x[:, 0].long()]


class Cases:
    """n forget, m holdout and r retain rows of two classes; models by how sure they are of each set."""

    def __init__(self, n=800, m=2_000, r=1_000, seed=0, groups=None):
        self.rng = np.random.default_rng(seed)
        self.n, self.total = n, n + m + r
        x = torch.arange(self.total, dtype=torch.float32)[:, None]
        self.y = torch.as_tensor(self.rng.integers(0, 2, self.total))
        rows = Rows(x, self.y, None if groups is None else torch.as_tensor(groups))
        parts = [rows.take(torch.arange(a, b)) for a, b in ((0, n), (n, n + m), (n + m, self.total))]
        self.sets = AuditSets(*parts)
        self.hard = self.rng.normal(size=self.total)

    def model(self, forget=0.0, *, noise=0.1, unseen=1.0, known=4.0):
        """Log-odds of the true class: unseen rows lie around `unseen`, forget rows higher by `forget`."""
        phi = unseen + self.hard + noise * self.rng.normal(size=self.total)
        phi[: self.n] += forget
        phi[-len(self.sets.retain) :] += known
        sign = np.where(self.y.numpy() == 1, 1, -1)
        return Table(np.stack([-phi * sign / 2, phi * sign / 2], axis=1))
