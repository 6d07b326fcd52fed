"""Colours, and a figure as bytes."""

import re
from collections.abc import Callable
from functools import wraps
from io import BytesIO
from typing import TYPE_CHECKING, ParamSpec

from matplotlib import rc_context
from matplotlib.figure import Figure

if TYPE_CHECKING:
    from matplotlib.typing import RcKeyType

BEFORE, AFTER, REFERENCE, HELD = "#b45309", "#1d4ed8", "#475569", "#94a3b8"
INK, BAND = "#0f172a", "#dbeafe"
WIDTH = 7.2     # inches
STYLE: "dict[RcKeyType, object]" = {
    "axes.edgecolor": "#cbd5e1",
    "axes.labelcolor": "#334155",
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlecolor": INK,
    "axes.titlesize": 10,
    "font.family": "DejaVu Sans",
    "font.size": 9,
    "legend.frameon": False,
    "svg.fonttype": "path",
    "svg.hashsalt": "expunge",
    "xtick.color": "#475569",
    "ytick.color": "#475569",
}
NAMES = re.compile(r'(\bid="|href="#|url\(#)')

P = ParamSpec("P")


def styled(draw: Callable[P, Figure]) -> Callable[P, Figure]:
    """A figure is drawn in our colours, whatever the user's own settings are."""

    @wraps(draw)
    def drawn(*args: P.args, **kwargs: P.kwargs) -> Figure:
        with rc_context(STYLE):
            return draw(*args, **kwargs)

    return drawn


def svg(figure: Figure, name: str) -> str:
    """As an element to be put into a page; the names inside begin with `name`, for a page has several figures."""
    out = BytesIO()
    with rc_context(STYLE):
        figure.savefig(out, format="svg", metadata={"Date": None, "Creator": None}, transparent=True)
    text = out.getvalue().decode()
    return NAMES.sub(rf"\1{name}-", text[text.index("<svg") :])


def png(figure: Figure) -> bytes:
    """As pixels for print."""
    out = BytesIO()
    with rc_context(STYLE):
        figure.savefig(out, format="png", dpi=200, metadata={"Software": None})
    return out.getvalue()
