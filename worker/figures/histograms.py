"""Losses of forgotten and held-out records: the figure of the paper of ∇τ."""

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from service.domain.report import Histogram
from worker.figures.style import AFTER, HELD, WIDTH, styled


@styled
def histograms(histogram: Histogram) -> Figure:
    """Before and after, on one scale."""
    figure = Figure(figsize=(WIDTH, 2.5), layout="constrained")
    axes = figure.subplots(1, 2, sharex=True, sharey=True)
    _losses(axes[0], histogram.edges, histogram.forget_before, histogram.holdout_before)
    _losses(axes[1], histogram.edges, histogram.forget_after, histogram.holdout_after)
    for ax, title in zip(axes, ("before", "after"), strict=True):
        ax.set_title(title)
        ax.set_xlabel("loss of a record, in nats (last bin: and more)")
    axes[0].set_ylabel("share of records")
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside upper right", ncols=2)
    return figure


def _losses(ax: Axes, edges: Sequence[float], forget: Sequence[float], held: Sequence[float]) -> None:
    total = sum(forget)
    ax.stairs(np.array(held) / total, edges, fill=True, color=HELD, alpha=0.55, label="held-out")
    ax.stairs(np.array(forget) / total, edges, color=AFTER, linewidth=1.6, label="forgotten")
