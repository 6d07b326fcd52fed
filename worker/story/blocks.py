"""What a report is made of, whether on a screen or on paper: sections of paragraphs, tables and figures."""

from collections.abc import Callable
from dataclasses import dataclass

from matplotlib.figure import Figure


@dataclass(frozen=True)
class Table:
    """Rows of text; the first column names the row."""

    caption: str
    head: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    widths: tuple[int, ...]     # of the columns on paper, relative to each other


@dataclass(frozen=True)
class Plot:
    """A figure; it is drawn when a page is made."""

    name: str                   # short, for who does not see it
    caption: str
    draw: Callable[[], Figure]


@dataclass(frozen=True)
class Section:
    """A part of the report; one without parts and words is left out."""

    title: str
    words: tuple[str, ...] = ()
    parts: tuple[Table | Plot, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.words or self.parts)
