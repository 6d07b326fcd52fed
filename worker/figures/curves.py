"""Curves: ROC on logarithmic axes, the power of the test, relearning."""

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter, PercentFormatter

from service.domain.report import Power, Relearning, Roc
from worker.figures.style import AFTER, BAND, BEFORE, INK, REFERENCE, WIDTH, styled

Curve = Sequence[float]


@styled
def roc(found: Roc) -> Figure:
    """TPR over FPR from the smallest rate of the grid on; a rate below it lies on the edge."""
    figure = Figure(figsize=(WIDTH, 3.1), layout="constrained")
    ax = figure.subplots()
    x = np.array(found.fpr)
    least = float(x[x > 0].min()) if (x > 0).any() else 1e-3
    low, high = (np.maximum(ends, least) for ends in np.array(found.band_after).T)
    ax.fill_between(np.maximum(x, least), low, high, color=BAND, linewidth=0, label="after, 95 %")
    ax.plot([least, 1], [least, 1], color=INK, linewidth=0.8, linestyle=":", label="guessing")
    for curve, colour, dashes, label in (
        (found.tpr_before, BEFORE, "--", "before"),
        (found.tpr_reference, REFERENCE, "-.", "retrained"),
        (found.tpr_after, AFTER, "-", "after"),
    ):
        if curve is not None:
            ax.plot(np.maximum(x, least), np.maximum(curve, least), color=colour, linestyle=dashes, label=label)
    _logarithmic(ax, least)
    ax.set_xlabel("held-out records wrongly taken for forgotten ones (FPR)")
    ax.set_ylabel("forgotten records found (TPR)")
    figure.legend(loc="outside right center")
    return figure


@styled
def power(found: Power, wanted: float) -> Figure:
    """Chance of the alarm over the AUC of a leak."""
    figure = Figure(figsize=(WIDTH, 2.5), layout="constrained")
    ax = figure.subplots()
    x, chance = np.array(found.curve).T
    ax.plot(x, chance, color=AFTER)
    ax.axhline(wanted, color=REFERENCE, linewidth=0.8, linestyle=":")
    if x[0] <= found.min_detectable_auc <= x[-1]:
        _marked(ax, found.min_detectable_auc, wanted, right=found.min_detectable_auc > (x[0] + x[-1]) / 2)
    ax.set_xlim(x[0], x[-1])
    ax.set_ylim(0, 1.02)
    ax.yaxis.set_major_formatter(PercentFormatter(1, decimals=0, symbol=" %"))
    ax.set_xlabel("AUC of a leak")
    ax.set_ylabel("chance of the alarm")
    return figure


@styled
def relearning(found: Relearning) -> Figure:
    """Accuracy on the forgotten records, and the AUC where there is one, over training steps."""
    figure = Figure(figsize=(WIDTH, 2.5), layout="constrained")
    panels = [("accuracy on forgotten records", found.forget_acc_curve_unlearned, found.forget_acc_curve_reference)]
    if found.auc_curve_unlearned:
        panels.append(("attack AUC (0.5: guessing)", found.auc_curve_unlearned, found.auc_curve_reference))
    axes = figure.subplots(1, len(panels), squeeze=False)[0]
    for ax, (title, after, reference) in zip(axes, panels, strict=True):
        _steps(ax, found.steps, after, reference)
        ax.set_title(title)
        ax.set_xlabel("steps of training on retained records")
    if found.auc_curve_unlearned:
        axes[1].axhline(0.5, color=INK, linewidth=0.8, linestyle=":")
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside upper right", ncols=2)
    return figure


def _marked(ax: Axes, auc: float, wanted: float, *, right: bool) -> None:
    """Name the smallest leak that is found, on the side of the curve where there is room."""
    ax.axvline(auc, color=REFERENCE, linewidth=0.8, linestyle=":")
    ax.annotate(
        f"{100 * wanted:.0f} % at an AUC of {auc:.3f}", (auc, wanted if right else 0), textcoords="offset points",
        xytext=(-6 if right else 6, 4), ha="right" if right else "left", color=REFERENCE,
    )


def _steps(ax: Axes, steps: Sequence[int], after: Curve, reference: Curve | None) -> None:
    ax.plot(steps, after, color=AFTER, marker="o", markersize=3, label="after")
    if reference:
        ax.plot(steps, reference, color=REFERENCE, marker="D", markersize=3, linestyle="-.", label="retrained")
    low, high = ax.get_ylim()
    if high - low < 0.1:    # a flat curve shall look flat
        middle = (low + high) / 2
        ax.set_ylim(middle - 0.05, middle + 0.05)


def _logarithmic(ax: Axes, least: float) -> None:
    for axis, limits in ((ax.xaxis, ax.set_xlim), (ax.yaxis, ax.set_ylim)):
        limits(least, 1)
        (ax.set_xscale if axis is ax.xaxis else ax.set_yscale)("log")
        axis.set_major_locator(LogLocator(10))
        axis.set_major_formatter(FuncFormatter(lambda share, _: f"{100 * share:g} %"))
        axis.set_minor_formatter(NullFormatter())
