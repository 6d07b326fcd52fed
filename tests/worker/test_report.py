"""The report as bytes: stable, self-contained, escaped, and saying the same as its numbers."""

import json
from functools import cache
from html.parser import HTMLParser

import pytest
import rfc8785

from service.domain.report import AuditReport
from tests.worker.audit_cases import QUICK, Cases
from worker.auditing import audit
from worker.report import to_html, to_json, to_pdf

VOID = {"meta", "path", "use", "rect", "br", "circle", "line"}


@cache
def example(kind="equivalent"):
    cases = Cases(m=0 if kind == "empty" else 2_000)
    references = [cases.model()] if kind == "reference" else []
    after = cases.model(1.0 if kind == "leak" else 0.0)
    return audit(cases.model(2.0), after, cases.sets, QUICK, references=references)


KINDS = ("equivalent", "reference", "leak", "empty")


class Page(HTMLParser):
    """Text, attributes that load something, and whether all elements are closed."""

    def __init__(self, page):
        super().__init__()
        self.open, self.text, self.loads, self.tags = [], [], [], []
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.loads += [v for k, v in attrs if k in ("src", "href", "xlink:href") and not v.startswith("#")]
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        if tag not in VOID:
            assert self.open.pop() == tag

    def handle_startendtag(self, tag, _attrs):
        self.tags.append(tag)

    def handle_data(self, data):
        self.text.append(data)


def test_json_is_canonical_and_reads_back():
    report = example()

    data = to_json(report)

    assert data == rfc8785.dumps(json.loads(data))
    assert AuditReport.model_validate_json(data) == report


def test_floats_have_six_digits():
    numbers = []
    json.loads(to_json(example()), parse_float=lambda text: numbers.append(text) or float(text))

    assert all(len(text.partition(".")[2]) <= 6 for text in numbers if "e" not in text)


def test_json_holds_no_time_and_no_row():
    report = json.loads(to_json(example()))

    assert {key for key in report if key.endswith(("_at", "_utc", "time", "ids"))} == set()
    assert max(len(v) for v in report.values() if isinstance(v, list | dict)) < 20


@pytest.mark.parametrize("write", [to_json, to_html, to_pdf])
def test_the_same_report_gives_the_same_bytes(write):
    report = example()

    assert write(report) == write(AuditReport.model_validate_json(to_json(report)))


@pytest.mark.parametrize("kind", KINDS)
def test_the_page_is_well_formed_and_loads_nothing(kind):
    page = Page(to_html(example(kind)).decode())

    assert page.open == []
    assert page.loads == []
    assert "script" not in page.tags


@pytest.mark.parametrize("kind", KINDS)
def test_the_page_says_the_verdict_before_any_number(kind):
    report = example(kind)

    text = "".join(Page(to_html(report).decode()).text)

    assert report.verdict.statement in text
    assert text.index(report.verdict.statement) < text.index("The numbers")
    assert all(limit in text for limit in report.verdict.not_claimed)


def test_figures_have_a_name_for_those_who_do_not_see_them():
    page = to_html(example()).decode()

    assert page.count('role="img" aria-label="') == page.count("<svg") == 2


def test_text_is_escaped():
    report = example()
    verdict = report.verdict.model_copy(update={"statement": "a < b & <script>alert(1)</script>"})

    page = to_html(report.model_copy(update={"verdict": verdict}))

    assert b"<script>" not in page
    assert b"a &lt; b &amp; &lt;script&gt;" in page


@pytest.mark.parametrize("kind", KINDS)
def test_the_pdf_is_complete_and_embeds_its_fonts(kind):
    data = to_pdf(example(kind))

    assert data.startswith(b"%PDF-")
    assert data.rstrip().endswith(b"%%EOF")
    assert data.count(b"/FontFile2") >= 2
    assert b"D:20000101" in data
