"""The report for print: A4, fonts embedded, and nothing in it that depends on when or where it was made."""

from datetime import UTC, datetime
from io import BytesIO
from pathlib import Path
from typing import Final

import matplotlib as mpl
from fpdf import FPDF
from fpdf.enums import TableBordersLayout, XPos, YPos
from fpdf.fonts import FontFace

from service.domain.report import AuditReport, VerdictValue
from worker import figures, story
from worker.story import Table

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


class Paper(FPDF):
    """Margins, fonts and a page number."""

    def __init__(self) -> None:
        super().__init__(format="A4")
        self.set_creation_date(EPOCH)
        self.set_margins(18, 18)
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

    def heading(self, text: str) -> None:
        """The title of a section, never alone at the foot of a page."""
        if self.will_page_break(25):
            self.add_page()
        self.ln(5)
        self.write_line(text, size=12, bold=True)
        self.ln(1.5)


def pdf(report: AuditReport) -> bytes:
    """First what it means, then the numbers."""
    paper = Paper()
    paper.set_title(f"Audit report: {story.TITLES[report.verdict.value]}")
    _summary(paper, report)
    paper.add_page()
    _numbers(paper, report)
    return bytes(paper.output())


def _summary(paper: Paper, report: AuditReport) -> None:
    paper.write_line("Audit report", size=22, bold=True)
    paper.write_line("Does the new model still know what it was asked to forget?", size=11, colour=SOFT)
    paper.heading("What was asked and done")
    paper.write_line(story.asked(report))
    paper.ln(5)
    _verdict(paper, report)
    paper.heading("What this does not show")
    for text in report.verdict.not_claimed:
        paper.write_line(f"•  {text}")
        paper.ln(0.8)
    paper.heading("How to read the numbers")
    paper.write_line(story.HOW_TO_READ)
    paper.ln(2)
    paper.write_line(story.basis(report))


def _verdict(paper: Paper, report: AuditReport) -> None:
    """Indented, with a bar in the verdict's colour."""
    verdict, tone, top = report.verdict, TONES[report.verdict.value], paper.y
    paper.set_left_margin(24)
    paper.set_y(top + 1)
    paper.write_line(story.TITLES[verdict.value], size=14, colour=tone, bold=True)
    paper.ln(1)
    paper.write_line(verdict.statement)
    paper.ln(1)
    paper.write_line(f"{verdict.value} · {verdict.reason_code}", size=8, colour=SOFT)
    paper.set_fill_color(*tone)
    paper.rect(18, top, 1.6, paper.y + 1 - top, style="F")
    paper.set_left_margin(18)
    paper.set_x(18)


def _numbers(paper: Paper, report: AuditReport) -> None:
    if report.results:
        _table(paper, story.attacks(report), (19, 30, 30, 30, 36, 14))
        _figure(paper, figures.png(figures.intervals(report)), story.INTERVALS)
    if report.loss_histogram:
        _figure(paper, figures.png(figures.histograms(report.loss_histogram)), story.HISTOGRAMS)
    _table(paper, story.accuracies(report), (19, 14, 30, 30, 30, 40))
    _table(paper, story.checks(report), (34, 20, 100))
    _table(paper, story.plan(report), (50, 120))


def _figure(paper: Paper, drawn: bytes, caption: str) -> None:
    if paper.will_page_break(75):
        paper.add_page()
    paper.ln(4)
    paper.image(BytesIO(drawn), w=WIDTH_MM, alt_text=caption)
    paper.write_line(caption, size=8, colour=SOFT)


def _table(paper: Paper, table: Table, widths: tuple[int, ...]) -> None:
    paper.heading(table.caption)
    paper.set_font("sans", size=7.5)
    paper.set_draw_color(*LINE)
    paper.set_text_color(*INK)
    paper.set_fill_color(255)
    head = FontFace(color=SOFT, emphasis="BOLD")
    with paper.table(
        [table.head, *table.rows],
        borders_layout=TableBordersLayout.HORIZONTAL_LINES,
        col_widths=widths,
        headings_style=head,
        line_height=4.2,
        padding=(1.2, 1.5, 1.2, 0),
        text_align="LEFT",
        width=WIDTH_MM,
    ):
        pass
