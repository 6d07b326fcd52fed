"""The report as one self-contained page: no script, no outside file, all text escaped."""

from html import escape
from typing import Final

from service.domain.report import AuditReport
from worker import figures, story
from worker.story import Table

STYLE: Final = """
:root{--ink:#0f172a;--soft:#475569;--line:#e2e8f0;--paper:#fff;--tint:#f8fafc}
*{box-sizing:border-box}
body{margin:0;background:var(--tint);color:var(--ink);font:16px/1.6 system-ui,"Segoe UI",Roboto,sans-serif}
main{max-width:60rem;margin:2rem auto;padding:2.5rem;background:var(--paper);border:1px solid var(--line);
border-radius:12px}
h1{margin:0 0 .25rem;font-size:1.9rem;line-height:1.2}
h2{margin:2.5rem 0 .5rem;font-size:1.15rem}
p,li{max-width:46rem}
.soft{color:var(--soft)}
.verdict{margin:1.5rem 0;padding:1.25rem 1.5rem;border-left:6px solid var(--tone);background:var(--tint);
border-radius:0 8px 8px 0}
.verdict strong{display:block;margin-bottom:.35rem;color:var(--tone);font-size:1.25rem}
.verdict code{color:var(--soft);font-size:.8rem}
.EQUIVALENT_WITHIN_MARGIN{--tone:#166534}.LEAK_DETECTED{--tone:#b91c1c}.INCONCLUSIVE{--tone:#92400e}
.wide{overflow-x:auto}
table{width:100%;border-collapse:collapse;font-size:.86rem;font-variant-numeric:tabular-nums}
caption{padding:.25rem 0 .5rem;color:var(--soft);text-align:left}
th,td{padding:.45rem .75rem .45rem 0;border-bottom:1px solid var(--line);text-align:left;vertical-align:top}
thead th{color:var(--soft);font-weight:600}
tbody th{font-weight:600;white-space:nowrap}
td{overflow-wrap:anywhere}
figure{margin:1.5rem 0}figure svg{width:100%;height:auto}
figcaption{color:var(--soft);font-size:.86rem}
@media print{body{background:none}main{margin:0;padding:0;border:0}.numbers{break-before:page}}
@media(max-width:40rem){main{margin:0;padding:1.25rem;border:0;border-radius:0}}
"""


def page(report: AuditReport) -> str:
    """First what it means, then the numbers."""
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width,initial-scale=1">'
        f"<title>Audit report: {escape(story.TITLES[report.verdict.value])}</title><style>{STYLE}</style></head>"
        f'<body class="{report.verdict.value}"><main>{_summary(report)}<div class="numbers">{_numbers(report)}</div>'
        "</main></body></html>\n"
    )


def _summary(report: AuditReport) -> str:
    verdict = report.verdict
    limits = "".join(f"<li>{escape(text)}</li>" for text in verdict.not_claimed)
    return (
        '<header><h1>Audit report</h1><p class="soft">Does the new model still know what it was asked to forget?</p>'
        f"</header><h2>What was asked and done</h2><p>{escape(story.asked(report))}</p>"
        f'<section class="verdict" aria-label="Verdict"><strong>{escape(story.TITLES[verdict.value])}</strong>'
        f"{escape(verdict.statement)}<br><code>{verdict.value} · {verdict.reason_code}</code></section>"
        f"<h2>What this does not show</h2><ul>{limits}</ul>"
        f"<h2>How to read the numbers</h2><p>{escape(story.HOW_TO_READ)}</p><p>{escape(story.basis(report))}</p>"
    )


def _numbers(report: AuditReport) -> str:
    parts = ["<h2>The numbers</h2>"]
    if report.results:
        drawn = figures.svg(figures.intervals(report))
        parts += [_table(story.attacks(report)), _figure(drawn, story.INTERVALS)]
    if report.loss_histogram:
        parts.append(_figure(figures.svg(figures.histograms(report.loss_histogram)), story.HISTOGRAMS))
    parts += [_table(table(report)) for table in (story.accuracies, story.checks, story.plan)]
    return "".join(parts)


def _figure(drawn: str, caption: str) -> str:
    labelled = drawn.replace("<svg ", f'<svg role="img" aria-label="{escape(caption)}" ', 1)
    return f"<figure>{labelled}<figcaption>{escape(caption)}</figcaption></figure>"


def _table(table: Table) -> str:
    head = "".join(f'<th scope="col">{escape(text)}</th>' for text in table.head)
    body = "".join(
        f'<tr><th scope="row">{escape(first)}</th>{"".join(f"<td>{escape(text)}</td>" for text in rest)}</tr>'
        for first, *rest in table.rows
    )
    caption = f"<caption>{escape(table.caption)}</caption>"
    return f'<div class="wide"><table>{caption}<thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'
