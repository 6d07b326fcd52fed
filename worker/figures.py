"""The figures of a report, drawn from its numbers alone: same report, same bytes."""

from collections.abc import Sequence
from io import BytesIO
from typing import TYPE_CHECKING

import numpy as np
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from service.domain.report import AuditReport, Histogram, Interval
from worker.wording import signal_name

if TYPE_CHECKING:
    from matplotlib.typing import RcKeyType

BEFORE, AFTER, REFERENCE, HELD = "#b45309", "#1d4ed8", "#475569", "#94a3b8"
STYLE: "dict[RcKeyType, object]" = {
    "axes.edgecolor": "#cbd5e1",
    "axes.labelcolor": "#334155",
    "axes.spines.right": False,
    "axes.spines.top": False,
    "font.size": 9,
    "svg.fonttype": "path",
    "svg.hashsalt": "expunge",
    "xtick.color": "#475569",
    "ytick.color": "#475569",
}


def svg(figure: Figure) -> str:
    """As an element to be put into a page."""
    out = BytesIO()
    with rc_context(STYLE):
        figure.savefig(out, format="svg", metadata={"Date": None, "Creator": None}, transparent=True)
    text = out.getvalue().decode()
    return text[text.index("<svg") :]


def png(figure: Figure) -> bytes:
    """As pixels for print."""
    out = BytesIO()
    with rc_context(STYLE):
        figure.savefig(out, format="png", dpi=200, metadata={"Software": None})
    return out.getvalue()


def intervals(report: AuditReport) -> Figure:
    """AUC of each signal before, after and of the reference, with 95 % intervals."""
    with rc_context(STYLE):
        figure = Figure(figsize=(7.2, 0.7 + 0.62 * len(report.results)), layout="constrained")
        ax = figure.subplots()
        at = np.arange(len(report.results), dtype=float)[::-1]
        _margin(ax, report)
        _points(ax, at + 0.22, [(r.auc_original, r.auc_original_ci95) for r in report.results], BEFORE, "s", "before")
        _points(ax, at, [(r.auc, r.auc_ci95) for r in report.results], AFTER, "o", "after")
        if report.references.k:
            held = [(r.auc_reference, r.auc_reference_ci95 or (0.0, 0.0)) for r in report.results]
            _points(ax, at - 0.22, held, REFERENCE, "D", "retrained")
        ax.set_yticks(at, [signal_name(r.signal) for r in report.results])
        ax.set_ylim(-0.6, len(at) - 0.4)
        ax.set_xlabel("attack AUC (0.5: guessing)")
        ax.tick_params(axis="y", length=0)
        figure.legend(loc="outside upper right", ncols=4, frameon=False)
    return figure


def histograms(histogram: Histogram) -> Figure:
    """Losses of forgotten and held-out records, before and after, on one scale."""
    with rc_context(STYLE):
        figure = Figure(figsize=(7.2, 2.5), layout="constrained")
        axes = figure.subplots(1, 2, sharex=True, sharey=True)
        _losses(axes[0], histogram.edges, histogram.forget_before, histogram.holdout_before)
        _losses(axes[1], histogram.edges, histogram.forget_after, histogram.holdout_after)
        for ax, title in zip(axes, ("before", "after"), strict=True):
            ax.set_title(title, fontsize=10, color="#0f172a")
            ax.set_xlabel("loss of a record, in nats (last bin: and more)")
        axes[0].set_ylabel("share of records")
        axes[0].legend(frameon=False)
    return figure


def _margin(ax: Axes, report: AuditReport) -> None:
    ax.axvline(0.5, color="#0f172a", linewidth=0.8, linestyle=":")
    if not report.references.k:
        margin = report.plan.margin
        ax.axvspan(0.5 - margin, 0.5 + margin, color="#dbeafe", linewidth=0, label=f"0.5 ± {margin:g}")


def _points(
    ax: Axes, at: np.ndarray, found: Sequence[tuple[float, Interval]], colour: str, marker: str, label: str
) -> None:
    value = np.array([auc for auc, _ in found])
    low, high = np.array([interval for _, interval in found]).T
    ax.hlines(at, low, high, color=colour, linewidth=1.8)
    ax.plot(value, at, linestyle="", marker=marker, markersize=5, color=colour, label=label)


def _losses(ax: Axes, edges: Sequence[float], forget: Sequence[float], held: Sequence[float]) -> None:
    total = sum(forget)
    ax.stairs(np.array(held) / total, edges, fill=True, color=HELD, alpha=0.55, label="held-out")
    ax.stairs(np.array(forget) / total, edges, color=AFTER, linewidth=1.6, label="forgotten")
