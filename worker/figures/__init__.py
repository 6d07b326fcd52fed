"""The figures of a report, drawn from its numbers alone: same report, same bytes."""

from worker.figures.curves import power, relearning, roc
from worker.figures.histograms import histograms
from worker.figures.intervals import intervals
from worker.figures.style import png, svg

__all__ = ["histograms", "intervals", "png", "power", "relearning", "roc", "svg"]
