"""The report for print: A4, fonts embedded, and nothing in it that depends on when or where it was made."""

from collections.abc import Sequence
from datetime import UTC, datetime
from io import BytesIO
from math import ceil
from pathlib import Path
from typing import Final

import matplotlib as mpl
from fpdf import FPDF
from fpdf.enums import TableBordersLayout, XPos, YPos
from fpdf.fonts import FontFace

from service.domain.report import AuditReport, VerdictValue
from worker import figures, story
from worker.story import Plot, Section, Table

Colour = tuple[int, int, int]
INK: Final[Colour] = (15, 23, 42)
SOFT: Final[Colour] = (71, 85, 105)
LINE: Final[Colour] = (203, 213, 225)
TONES: Final[dict[VerdictValue, Colour]] = {
    "EQUIVALENT_WITHIN_MARGIN": (22, 101, 52),
    "LEAK_DETECTED": (185, 28, 28),
    "INCONCLUSIVE": (146, 64, 14),
}
EPOCH: Final = datetime(2000, 1, 1, tzinfo=UTC)     # a fixed date: the certificate says when
WIDTH_MM: Final = 174
FULL_MM: Final = 250    # of a page that has nothing on it yet
TEXT: Final = 9.5       # points
LETTER_MM: Final = 1.45     # of a table, on average
SHORT_MM: Final = 120       # a table of more may be parted


class Paper(FPDF):
    """Margins, fonts and a page number."""

    def __init__(self) -> None:
        super().__init__(format="A4")
        self.set_creation_date(EPOCH)
        self.set_margins(18, 18)
        self.c_margin = 0       # text begins where rules do
        self.set_auto_page_break(auto=True, margin=20)
        folder = Path(mpl.get_data_path()) / "fonts" / "ttf"
        self.add_font("sans", fname=folder / "DejaVuSans.ttf")
        self.add_font("sans", "B", folder / "DejaVuSans-Bold.ttf")
        self.set_lang("en")
        self.add_page()

    def footer(self) -> None:
        """The number of the page."""
        self.set_y(-14)
        self.write_line(f"Audit report · page {self.page_no()} of {{nb}}", size=8, colour=SOFT)

    def write_line(self, text: str, *, size: float = 10, colour: Colour = INK, bold: bool = False) -> None:
        """A paragraph."""
        self.set_font("sans", "B" if bold else "", size)
        self.set_text_color(*colour)
        self.multi_cell(0, size * 0.52, text, align="L", new_x=XPos.LMARGIN, new_y=YPos.NEXT)

    def heading(self, text: str, *, room: float = 25) -> None:
        """The title of a section, never alone at the foot of a page: `room` mm, with what follows, stay together."""
        self.keep(room)
        self.ln(5)
        self.write_line(text, size=12, bold=True)
        self.ln(1.5)

    def keep(self, room: float) -> None:
        """Begin a new page where fewer mm than these are left."""
        if self.will_page_break(min(room, FULL_MM)):
            self.add_page()


def pdf(report: AuditReport) -> bytes:
    """First what it means, then the numbers."""
    paper = Paper()
    paper.set_title(f"Audit report: {story.TITLES[report.verdict.value]}")
    summary(paper, report)
    paper.add_page()
    paper.write_line("The numbers", size=16, bold=True)
    paper.heading("How to read them")
    for text in (story.HOW_TO_READ, story.basis(report)):
        paper.write_line(text, size=8.5)
        paper.ln(1)
    for section in story.sections(report):
        _section(paper, section)
    return bytes(paper.output())


def summary(paper: Paper, report: AuditReport) -> None:
    """The first page."""
    paper.write_line("Audit report", size=22, bold=True)
    paper.write_line(story.QUESTION, size=11, colour=SOFT)
    paper.heading("What was asked")
    paper.write_line(story.asked(report), size=TEXT)
    paper.heading("What was done")
    _list(paper, story.done(report))
    paper.ln(4)
    _verdict(paper, report)
    paper.heading("What this does not show")
    _list(paper, report.verdict.not_claimed)
    if following := story.following(report):
        paper.heading("What would decide it")
        paper.write_line(following, size=TEXT)


def _list(paper: Paper, texts: Sequence[str]) -> None:
    for text in texts:
        top = paper.y
        paper.write_line("•", size=TEXT)
        paper.set_left_margin(22)
        paper.set_y(top)
        paper.write_line(text, size=TEXT)
        paper.set_left_margin(18)
        paper.ln(0.6)


def _verdict(paper: Paper, report: AuditReport) -> None:
    """Indented, with a bar in the verdict's colour."""
    verdict, tone, top = report.verdict, TONES[report.verdict.value], paper.y
    paper.set_left_margin(24)
    paper.set_y(top + 1)
    paper.write_line(story.TITLES[verdict.value], size=14, colour=tone, bold=True)
    paper.ln(1)
    paper.write_line(story.IN_A_SENTENCE[verdict.reason_code], size=10.5, bold=True)
    for text in (story.glance(report), verdict.statement):
        if text:
            paper.ln(1)
            paper.write_line(text, size=TEXT)
    paper.ln(1)
    paper.write_line(f"{verdict.value} · {verdict.reason_code}", size=8, colour=SOFT)
    paper.set_fill_color(*tone)
    paper.rect(18, top, 1.6, paper.y + 1 - top, style="F")
    paper.set_left_margin(18)
    paper.set_x(18)


def _section(paper: Paper, section: Section) -> None:
    first = section.parts[:1]
    paper.heading(section.title, room=12 + 11 * len(section.words) + sum(_height(part) for part in first))
    for text in section.words:
        paper.write_line(text, size=8.5)
        paper.ln(1)
    for part in section.parts:
        paper.keep(_height(part))
        if isinstance(part, Table):
            _table(paper, part)
        else:
            _figure(paper, part)


def _height(part: Table | Plot) -> float:
    """About how many mm are to stay together: a figure, a short table, or the first rows of a long one."""
    if isinstance(part, Plot):
        width, height = part.draw().get_size_inches()
        return WIDTH_MM * height / width + 16
    rows = [_row_height(row, part.widths) for row in (part.head, *part.rows)]
    return 10 + (sum(rows) if sum(rows) <= SHORT_MM else sum(rows[:4]))


def _row_height(row: Sequence[str], widths: Sequence[int]) -> float:
    room = (WIDTH_MM * width / sum(widths) - 1.5 for width in widths)
    return 2.4 + 4.2 * max(ceil(len(text) * LETTER_MM / mm) for text, mm in zip(row, room, strict=True))


def _figure(paper: Paper, plot: Plot) -> None:
    paper.ln(2)
    paper.image(BytesIO(figures.png(plot.draw())), w=WIDTH_MM, alt_text=f"{plot.name}. {plot.caption}")
    paper.write_line(plot.caption, size=8, colour=SOFT)


def _table(paper: Paper, table: Table) -> None:
    paper.ln(2)
    paper.write_line(table.caption, size=8, colour=SOFT)
    paper.ln(0.5)
    paper.set_font("sans", size=7.5)
    paper.set_draw_color(*LINE)
    paper.set_text_color(*INK)
    paper.set_fill_color(255)
    head = FontFace(color=SOFT, emphasis="BOLD")
    with paper.table(
        [table.head, *table.rows],
        borders_layout=TableBordersLayout.HORIZONTAL_LINES,
        col_widths=table.widths,
        headings_style=head,
        line_height=4.2,
        padding=(1.2, 1.5, 1.2, 0),
        text_align="LEFT",
        width=WIDTH_MM,
    ):
        pass
