"""How long the first rung takes, and how much memory: measured in a process of its own.

`python -m worker.bench.audit_population rows …` is that process.
"""

import json
import subprocess
import sys
from time import perf_counter
from typing import Final

import numpy as np
import torch

from service.domain.policy import SIGNALS, AuditPlan
from service.domain.recipes import Population
from worker.attacks.population import population as rung
from worker.auditing import AuditSets
from worker.bench.memory import status
from worker.case import Case
from worker.data import Rows
from worker.optimise import Progress
from worker.sides import Side

CLASSES: Final = 10
RETAIN: Final = 100     # rows; this rung only needs that there are some


def population(
    n: int = 10_000,
    m: int = 10_000,
    signals: int = 6,
    bootstrap: int = 2_000,
    permutations: int = 1_999,
    *,
    conventions: bool = False,
) -> dict[str, float]:
    """Seconds and peak MiB of the rung on made-up answers of ten classes; growth is the time of twice the rows.

    Logits are given: asking the models is their own cost. The memory is that of the whole process, torch included.
    `conventions` adds the attacks that papers report; they look at a bounded number of rows.
    """
    once, twice = (_measured(times * n, times * m, signals, bootstrap, permutations, conventions) for times in (1, 2))
    return {
        "population_s": once["seconds"],
        "population_rss_mb": once["rss_mb"],
        "population_growth": twice["seconds"] / once["seconds"],
    }


def _measured(*arguments: int) -> dict[str, float]:
    command = [sys.executable, "-m", "worker.bench.audit_population", *(str(int(each)) for each in arguments)]
    return json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def main(*arguments: str) -> None:
    """Print what one run took."""
    n, m, signals, bootstrap, permutations, conventions = map(int, arguments)
    plan = AuditPlan(
        rungs=(Population(conventions=bool(conventions)),),
        signals=SIGNALS[:signals],
        bootstrap=bootstrap,
        permutations=permutations,
    )
    case = _case(plan, n, m)
    start = perf_counter()
    rung(case, plan.rungs[0])
    sys.stdout.write(json.dumps({"seconds": perf_counter() - start, "rss_mb": status("VmHWM")}))


def _case(plan: AuditPlan, n: int, m: int) -> Case:
    """Two models; the one before knows the forget rows."""
    rng = np.random.default_rng(0)
    forget, holdout, retain = (_side(rng, size, known) for size, known in ((n, 1.0), (m, 0.0), (RETAIN, 1.0)))
    rows = Rows(torch.zeros(1, 1), torch.zeros(1, dtype=torch.long))
    models = [torch.nn.Identity(), torch.nn.Identity()]
    return Case(plan, models, AuditSets(rows, rows, rows), forget, holdout, retain, Progress(1))


def _side(rng: np.random.Generator, size: int, known: float) -> Side:
    y = rng.integers(0, CLASSES, size)
    z = rng.normal(size=(2, size, CLASSES))
    z[:, np.arange(size), y] += 1
    z[0, np.arange(size), y] += known
    return Side(y, None, list(z))


if __name__ == "__main__":
    main(*sys.argv[1:])
