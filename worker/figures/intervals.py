"""Attack AUCs with their intervals, a line for each signal."""

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from service.domain.report import AuditReport, Interval
from worker.figures.style import AFTER, BAND, BEFORE, INK, REFERENCE, WIDTH, styled
from worker.wording import signal_name


@styled
def intervals(report: AuditReport) -> Figure:
    """AUC of each signal before, after and of the reference, with 95 % intervals."""
    figure = Figure(figsize=(WIDTH, 0.8 + 0.36 * len(report.results)), layout="constrained")
    ax = figure.subplots()
    at = np.arange(len(report.results), dtype=float)[::-1]
    _margin(ax, report)
    _points(ax, at + 0.24, [(r.auc_original, r.auc_original_ci95) for r in report.results], BEFORE, "s", "before")
    _points(ax, at, [(r.auc, r.auc_ci95) for r in report.results], AFTER, "o", "after")
    if report.references.k:
        held = [(r.auc_reference, r.auc_reference_ci95 or (r.auc_reference, r.auc_reference)) for r in report.results]
        _points(ax, at - 0.24, held, REFERENCE, "D", "retrained")
    ax.set_yticks(at, [signal_name(r.signal) for r in report.results])
    ax.set_ylim(-0.6, len(at) - 0.4)
    ax.set_xlabel("attack AUC (0.5: guessing)")
    ax.tick_params(axis="y", length=0)
    figure.legend(loc="outside upper right", ncols=4)
    return figure


def _margin(ax: Axes, report: AuditReport) -> None:
    ax.axvline(0.5, color=INK, linewidth=0.8, linestyle=":")
    if not report.references.k:
        margin = report.plan.margin
        ax.axvspan(0.5 - margin, 0.5 + margin, color=BAND, linewidth=0, label=f"0.5 ± {margin:g}")


def _points(
    ax: Axes, at: np.ndarray, found: Sequence[tuple[float, Interval]], colour: str, marker: str, label: str
) -> None:
    value = np.array([auc for auc, _ in found])
    low, high = np.array([interval for _, interval in found]).T
    ax.hlines(at, low, high, color=colour, linewidth=1.8)
    ax.plot(value, at, linestyle="", marker=marker, markersize=4, color=colour, label=label)
