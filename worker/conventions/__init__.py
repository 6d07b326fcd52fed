"""Attacks as papers report them, under their own names, signs and quirks: for comparison, and never for a verdict.

Their test rows are the whole holdout, not only the forget set's classes, because that is what the papers take. Our own
audit matches classes, tests both sides, and says how sure it is. A number here means something beside the retrained
models' number alone: neither 0.5 nor 1 is what to aim at.
"""

from typing import Final

from service.domain.report import Convention
from worker.case import Case
from worker.conventions.bad_teacher import bad_teacher
from worker.conventions.nabla_tau import nabla_tau
from worker.conventions.salun import salun, salun_mended
from worker.conventions.starting_kit import starting_kit

__all__ = ["conventions"]

LEAST: Final = 20       # rows on each side; of fewer, a share is a handful of coin tosses


def conventions(case: Case) -> tuple[Convention, ...]:
    """All of them; none where a side has fewer than 20 rows."""
    if min(len(case.forget), len(case.holdout), len(case.retain)) < LEAST:
        return ()
    papers = (nabla_tau, starting_kit, salun, salun_mended, bad_teacher)
    return tuple(found for paper in papers for found in paper(case))
