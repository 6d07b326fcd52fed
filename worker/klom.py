r"""KLoM: do unlearned models give a row the margins that retrained ones give it?

Attribute-to-Delete. Georgiev et al. ICLR 2025. arXiv:2410.23232.

    KL(oracle ‖ unlearned) = Σ_b p_b log(p_b / max(q_b, 1e-5))   over 20 bins of one row's margins, on their joint range

The direction is that of the published code, whose function's arguments are named the other way round; margins beyond
±100 count as ±100. Differs from that code: the largest margin falls into the last bin, not outside.

The number is above 0 for equal distributions too: about 0.34 with 100 models on each side, 0.02 with 1,000. Ours: that
bias is measured, by dealing the same models anew to both sides, and subtracted.
"""

from typing import Final

import numpy as np
from numpy.typing import NDArray

from service.domain.report import Klom
from service.errors import BadInput
from worker.signals import Array

BINS: Final = 20
FLOOR: Final = 1e-5         # of q where p > 0, so a row's number is at most ln 1e5 = 11.5
WIDEST: Final = 100.0       # margins beyond it are taken for it
DEALS: Final = 20
LEAST: Final = 2            # models on a side; of one there is no distribution

Bins = NDArray[np.int64]


def klom(unlearned: Array, oracle: Array, rng: np.random.Generator, *, deals: int = DEALS) -> Klom:
    """Over rows: mean and 95th percentile, and the same where it makes no difference which side a model is on.

    Args:
        unlearned: (M_u, rows) logit-scaled confidence of each unlearned model.
        oracle: (M_o, rows) of each model that never saw the rows.
        deals: how many times models are dealt anew for the null.
    Raises:
        BadInput: fewer than two models on a side, no rows, different rows, or a margin that is no number.
    """
    _fit(unlearned, oracle)
    cells = binned(np.concatenate([unlearned, oracle]))
    n = len(unlearned)
    seen = divergences(cells[n:], cells[:n])
    null = np.array([divergences(cells[order[n:]], cells[order[:n]]) for order in _dealt(len(cells), deals, rng)])
    return Klom(
        n_models=(n, len(oracle)),
        mean=seen.mean(),
        p95=np.quantile(seen, 0.95),
        null_mean=null.mean(),
        null_p95=np.quantile(null, 0.95, axis=1).mean(),
        excess=seen.mean() - null.mean(),
    )


def binned(margins: Array) -> Bins:
    """(models, rows): the bin of each margin, among all cells of all rows; a row's bins span its own range."""
    x = np.clip(margins, -WIDEST, WIDEST)
    low, span = x.min(axis=0), np.ptp(x, axis=0)
    place = np.divide(x - low, span, out=np.zeros_like(x), where=span > 0)
    return np.minimum((place * BINS).astype(np.int64), BINS - 1) + BINS * np.arange(x.shape[1])


def divergences(oracle: Bins, unlearned: Bins) -> Array:
    """(rows,) KL(oracle ‖ unlearned), in nats."""
    p, q = (_shares(cells) for cells in (oracle, unlearned))
    return np.where(p > 0, p * np.log(np.where(p > 0, p, 1) / np.maximum(q, FLOOR)), 0).sum(axis=1)


def _shares(cells: Bins) -> Array:
    models, rows = cells.shape
    return np.bincount(cells.ravel(), minlength=rows * BINS).reshape(rows, BINS) / models


def _dealt(models: int, deals: int, rng: np.random.Generator) -> list[Bins]:
    return [rng.permutation(models) for _ in range(deals)]


def _fit(unlearned: Array, oracle: Array) -> None:
    if unlearned.ndim != 2 or oracle.ndim != 2 or unlearned.shape[1] != oracle.shape[1] or not unlearned.shape[1]:
        raise BadInput(f"KLoM needs (models, rows) of the same rows, not {unlearned.shape} and {oracle.shape}")
    if min(len(unlearned), len(oracle)) < LEAST:
        raise BadInput(f"KLoM needs at least {LEAST} models on each side, not {len(unlearned)} and {len(oracle)}")
    if not (np.isfinite(unlearned).all() and np.isfinite(oracle).all()):
        raise BadInput("a margin is NaN or infinite")
