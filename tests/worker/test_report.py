"""The report as bytes: stable, self-contained, escaped, and saying the same as its numbers."""

import json
import re
from functools import cache
from html.parser import HTMLParser
from typing import get_args

import pytest
import rfc8785

from service.domain.recipes import Rung
from service.domain.report import AuditReport, Found, Reason, VerdictValue
from tests.worker.report_cases import KINDS, example
from worker import story
from worker.figures import histograms, intervals, power, relearning, roc
from worker.paper import Paper, summary
from worker.report import to_html, to_json, to_pdf
from worker.story import Plot, Table
from worker.story.numbers import chance, dash, percent, signed, three, within_signed
from worker.story.population import part_name
from worker.story.summary import NAMES, WORDS

VOID = {"meta", "path", "use", "rect", "br", "circle", "line"}


@cache
def html(kind="equivalent"):
    return to_html(example(kind)).decode()


class Page(HTMLParser):
    """Text, attributes that load something, and whether all elements are closed."""

    def __init__(self, page):
        super().__init__()
        self.open, self.text, self.loads, self.tags, self.ids, self.links = [], [], [], [], [], []
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        refers = [v for k, v in attrs if k in ("src", "href", "xlink:href")]
        self.loads += [v for v in refers if not v.startswith("#")]
        self.links += [v[1:] for v in refers if v.startswith("#")]
        self.ids += [v for k, v in attrs if k == "id"]
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        if tag not in VOID:
            assert self.open.pop() == tag

    def handle_startendtag(self, tag, attrs):
        self.tags.append(tag)
        self.ids += [v for k, v in attrs if k == "id"]
        self.links += [v[1:] for k, v in attrs if k == "xlink:href"]

    def handle_data(self, data):
        self.text.append(data)


def test_json_is_canonical_and_reads_back():
    report = example("full")

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
    assert max(len(v) for v in report.values() if isinstance(v, list | dict)) < 30


def test_the_same_report_gives_the_same_json_and_page():
    again = AuditReport.model_validate_json(to_json(example("full")))

    assert to_json(again) == to_json(example("full"))
    assert to_html(again).decode() == html("full")


def test_the_same_report_gives_the_same_paper():
    report = example("reference")

    assert to_pdf(report) == to_pdf(AuditReport.model_validate_json(to_json(report)))


@pytest.mark.parametrize("kind", KINDS)
def test_the_page_is_well_formed_and_loads_nothing(kind):
    page = Page(html(kind))

    assert page.open == []
    assert page.loads == []
    assert "script" not in page.tags


@pytest.mark.parametrize("kind", KINDS)
def test_every_name_in_the_page_is_used_once_and_every_link_leads_somewhere(kind):
    page = Page(html(kind))

    assert sorted(set(page.ids)) == sorted(page.ids)
    assert set(page.links) <= set(page.ids)


@pytest.mark.parametrize("kind", KINDS)
def test_the_page_says_the_verdict_before_any_number(kind):
    report = example(kind)

    text = "".join(Page(html(kind)).text)

    assert report.verdict.statement in text
    assert text.index(report.verdict.statement) < text.index("The numbers")
    assert text.index(story.IN_A_SENTENCE[report.verdict.reason_code]) < text.index(report.verdict.statement)
    assert all(limit in text for limit in report.verdict.not_claimed)


@pytest.mark.parametrize("kind", KINDS)
def test_the_first_page_of_the_paper_is_one_page(kind):
    paper = Paper()

    summary(paper, example(kind))

    assert paper.page_no() == 1
    paper.output()      # closes its fonts


def test_the_full_example_has_every_finding():
    report = example("full")

    assert [name for name in Found.model_fields if not getattr(report, name)] == []
    assert report.recipe_evidence
    assert report.verdict.next_rung


def test_every_finding_has_a_place_and_what_was_not_measured_has_none():
    full, empty = (story.sections(example(kind)) for kind in ("full", "empty"))

    assert len(full) == 14
    assert [section.title for section in empty] == [
        "Is the model still useful?", "Can this audit be trusted?", "Where the models come from", "The plan"
    ]


def test_what_the_page_says_the_paper_says_too():
    """One content: the paper is made of the same sections as the page."""
    text = "".join(Page(html("full")).text)

    for section in story.sections(example("full")):
        assert section.title in text
        for part in section.parts:
            said = [part.caption] if isinstance(part, Plot) else [part.caption, *part.head, *sum(part.rows, ())]
            assert all(word in text for word in said)


@pytest.mark.parametrize("kind", KINDS)
def test_every_table_is_rectangular(kind):
    tables = [part for section in story.sections(example(kind)) for part in section.parts if isinstance(part, Table)]

    assert {len(row) - len(table.head) for table in tables for row in table.rows} <= {0}
    assert {len(table.widths) - len(table.head) for table in tables} == {0}
    assert all(table.rows for table in tables)


def test_figures_have_a_name_for_those_who_do_not_see_them():
    for kind in ("equivalent", "full"):
        page = html(kind)
        plots = [p for section in story.sections(example(kind)) for p in section.parts if isinstance(p, Plot)]

        assert re.findall(r'<svg role="img" aria-label="([^"]+)"', page) == [plot.name for plot in plots]
        assert page.count("<svg") == page.count("<figcaption>") == len(plots)


def test_text_is_escaped():
    report = example()
    verdict = report.verdict.model_copy(update={"statement": "a < b & <script>alert(1)</script>"})

    page = to_html(report.model_copy(update={"verdict": verdict}))

    assert b"<script>" not in page
    assert b"a &lt; b &amp; &lt;script&gt;" in page


@pytest.mark.parametrize("kind", ["empty", "full"])
def test_the_pdf_is_complete_and_embeds_its_fonts(kind):
    data = to_pdf(example(kind))

    assert data.startswith(b"%PDF-")
    assert data.rstrip().endswith(b"%%EOF")
    assert data.count(b"/FontFile2") >= 2
    assert b"D:20000101" in data


# ---- words ----------------------------------------------------------------------------------------------------------


def test_every_verdict_reason_and_rung_has_its_words():
    rungs = {rung.model_fields["name"].default for rung in get_args(get_args(Rung)[0])}

    assert set(story.TITLES) == set(get_args(VerdictValue))
    assert set(story.IN_A_SENTENCE) == set(get_args(Reason))
    assert set(WORDS) == set(NAMES) == rungs


def test_no_page_claims_what_an_audit_cannot_show():
    for kind in KINDS:
        text = "".join(Page(html(kind)).text).lower()

        assert not re.search(r"verified deleted|proven|guaranteed|ε ≤|is deleted|no longer knows", text)


def test_a_rung_that_could_not_be_climbed_is_said_with_its_reason_and_not_claimed():
    told = story.done(example("full"))

    assert any("planted records: there are 40 planted records" in text for text in told)
    assert not any("were guessed" in text for text in told)


def test_one_record_is_spoken_of_in_the_singular():
    report = example()
    one = report.forget_set.model_copy(update={"n": 1, "n_groups": 1})

    assert story.asked(report.model_copy(update={"forget_set": one})).startswith("1 record of 1 person was to be")


def test_the_pairs_of_the_first_page_are_the_headline():
    report = example("full")

    before, after, reference, guessing = map(int, re.findall(r"\b\d+\b", story.glance(report))[1:])

    assert before == round(100 * report.headline.auc_before)
    assert after == round(100 * report.headline.auc_after)
    assert reference == round(100 * report.headline.auc_reference)
    assert guessing == 50
    assert story.glance(example("empty")) == ""


def test_what_would_decide_an_audit_is_said_with_its_price():
    assert "4 trainings of the model anew or 1,250 persons" in story.following(example("full"))
    assert story.following(example("leak")) == ""


def test_numbers_are_written_so_that_they_can_be_read():
    assert [three(None), three(-0.0001), signed(-0.25), signed(0.0004)] == ["–", "0.000", "−0.250", "0.000"]
    assert [dash((0.1, 0.2)), dash((-0.1, 0.2))] == ["0.100–0.200", "−0.100 to 0.200"]
    assert within_signed(-0.1, (-0.2, 0.1)) == "−0.100 (−0.200 to +0.100)"
    assert [chance(0.00001), chance(0.0005), chance(None)] == ["< 0.0001", "0.0005", "–"]
    assert [percent(p) for p in (0.95, 0.01, 0.001, 0.059, 0.0)] == ["95 %", "1 %", "0.1 %", "5.9 %", "0 %"]
    assert [part_name(n) for n in ("class:3", "memorised:top_decile")] == ["Class 3", "Best memorised tenth"]


# ---- figures --------------------------------------------------------------------------------------------------------


def test_the_roc_has_log_axes_and_the_band_of_the_new_model():
    found = example("full").roc

    ax = roc(found).axes[0]

    assert (ax.get_xscale(), ax.get_yscale()) == ("log", "log")
    assert ax.get_xlim() == ax.get_ylim() == (found.fpr[0], 1)
    after = next(line for line in ax.lines if line.get_label() == "after")
    assert after.get_ydata().tolist() == pytest.approx(found.tpr_after)
    band = ax.collections[0].get_paths()[0].vertices
    assert band[:, 1].max() == pytest.approx(1)
    assert band[:, 1].min() == pytest.approx(found.fpr[0])


def test_a_rate_of_nothing_stays_inside_logarithmic_axes():
    found = example("full").roc
    none = found.model_copy(update={"fpr": (0.0, *found.fpr[1:]), "tpr_after": (0.0, *found.tpr_after[1:])})

    line = next(line for line in roc(none).axes[0].lines if line.get_label() == "after")

    assert min(line.get_ydata()) > 0
    assert min(line.get_xdata()) > 0


def test_the_curves_are_the_reports_numbers():
    report = example("full")

    curve = power(report.power, 0.8).axes[0].lines[0].get_xydata()
    left, right = relearning(report.relearning[0]).axes

    assert curve.tolist() == [list(point) for point in report.power.curve]
    assert left.lines[0].get_ydata().tolist() == list(report.relearning[0].forget_acc_curve_unlearned)
    assert right.lines[1].get_ydata().tolist() == list(report.relearning[0].auc_curve_reference)


def test_relearning_without_held_out_rows_has_one_panel():
    found = example("full").relearning[0]

    assert len(relearning(found.model_copy(update={"auc_curve_unlearned": ()})).axes) == 1


def test_each_signal_has_its_line_and_each_side_its_histogram():
    report = example("full")

    ticks = [label.get_text() for label in intervals(report).axes[0].get_yticklabels()]
    before, after = histograms(report.loss_histogram).axes

    assert len(ticks) == len(report.results)
    assert "RMIA" in ticks
    assert sum(before.patches[1].get_data().values) == pytest.approx(1)
    assert sum(after.patches[0].get_data().values) == pytest.approx(1)
