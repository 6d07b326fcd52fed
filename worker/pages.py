"""The report as one self-contained page: no script, no outside file, all text escaped."""

from html import escape
from typing import Final

from service.domain.report import AuditReport
from worker import figures, story
from worker.story import Plot, Section, Table

STYLE: Final = """
:root{--ink:#0f172a;--soft:#475569;--line:#e2e8f0;--paper:#fff;--tint:#f8fafc}
*{box-sizing:border-box}
body{margin:0;background:var(--tint);color:var(--ink);font:16px/1.6 system-ui,"Segoe UI",Roboto,sans-serif}
main{max-width:60rem;margin:2rem auto;padding:2.5rem;background:var(--paper);border:1px solid var(--line);
border-radius:12px}
h1{margin:0 0 .25rem;font-size:1.9rem;line-height:1.2}
h2{margin:2.5rem 0 .5rem;font-size:1.3rem}
h3{margin:2.25rem 0 .5rem;font-size:1.05rem}
header+h2{margin-top:1.5rem}
p,li{max-width:46rem}
.soft{color:var(--soft)}
.verdict{margin:1.5rem 0;padding:1.25rem 1.5rem;border-left:6px solid var(--tone);background:var(--tint);
border-radius:0 8px 8px 0}
.verdict strong{display:block;margin-bottom:.35rem;color:var(--tone);font-size:1.25rem}
.verdict p{margin:.5rem 0}
.verdict .one{font-size:1.1rem}
.verdict code{color:var(--soft);font-size:.8rem}
.EQUIVALENT_WITHIN_MARGIN{--tone:#166534}.LEAK_DETECTED{--tone:#b91c1c}.INCONCLUSIVE{--tone:#92400e}
nav{margin:1rem 0;padding:.25rem 1.25rem .75rem;border:1px solid var(--line);border-radius:8px}
nav ol{margin:0;padding-left:1.5rem;columns:2;column-gap:2rem}
nav a{color:inherit}
.wide{overflow-x:auto}
table{width:100%;margin:.5rem 0 1.25rem;border-collapse:collapse;font-size:.86rem;font-variant-numeric:tabular-nums}
caption{padding:.25rem 0 .5rem;color:var(--soft);text-align:left}
th,td{padding:.45rem .75rem .45rem 0;border-bottom:1px solid var(--line);text-align:left;vertical-align:top}
thead th{color:var(--soft);font-weight:600}
tbody th{font-weight:600}
td{overflow-wrap:anywhere}
figure{margin:1.5rem 0}figure svg{width:100%;height:auto}
figcaption{color:var(--soft);font-size:.86rem}
@media print{body{background:none}main{margin:0;padding:0;border:0}.numbers{break-before:page}nav{display:none}
tr,figure{break-inside:avoid}h2,h3,caption{break-after:avoid}}
@media(max-width:40rem){main{margin:0;padding:1.25rem;border:0;border-radius:0}nav ol{columns:1}}
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
    following = story.following(report)
    return (
        f'<header><h1>Audit report</h1><p class="soft">{escape(story.QUESTION)}</p></header>'
        f"<h2>What was asked</h2><p>{escape(story.asked(report))}</p>"
        f"<h2>What was done</h2>{_list(story.done(report))}{_verdict(report)}"
        f"<h2>What this does not show</h2>{_list(report.verdict.not_claimed)}"
        + (f"<h2>What would decide it</h2><p>{escape(following)}</p>" if following else "")
    )


def _verdict(report: AuditReport) -> str:
    verdict, glance = report.verdict, story.glance(report)
    return (
        f'<section class="verdict" aria-label="Verdict"><strong>{escape(story.TITLES[verdict.value])}</strong>'
        f'<p class="one">{escape(story.IN_A_SENTENCE[verdict.reason_code])}</p>'
        + (f"<p>{escape(glance)}</p>" if glance else "")
        + f"<p>{escape(verdict.statement)}</p><code>{verdict.value} · {verdict.reason_code}</code></section>"
    )


def _numbers(report: AuditReport) -> str:
    sections = story.sections(report)
    links = "".join(f'<li><a href="#s{n}">{escape(each.title)}</a></li>' for n, each in enumerate(sections, start=1))
    parts = "".join(_section(n, each) for n, each in enumerate(sections, start=1))
    return (
        f'<h2>The numbers</h2><nav aria-label="Contents"><ol>{links}</ol></nav><h3>How to read them</h3>'
        f"<p>{escape(story.HOW_TO_READ)}</p><p>{escape(story.basis(report))}</p>{parts}"
    )


def _section(n: int, section: Section) -> str:
    words = "".join(f"<p>{escape(text)}</p>" for text in section.words)
    parts = "".join(_part(part, f"f{n}{k}") for k, part in enumerate(section.parts))
    return f'<section aria-labelledby="s{n}"><h3 id="s{n}">{escape(section.title)}</h3>{words}{parts}</section>'


def _part(part: Table | Plot, name: str) -> str:
    return _table(part) if isinstance(part, Table) else _figure(part, name)


def _figure(plot: Plot, name: str) -> str:
    drawn = figures.svg(plot.draw(), name)
    labelled = drawn.replace("<svg ", f'<svg role="img" aria-label="{escape(plot.name)}" ', 1)
    return f"<figure>{labelled}<figcaption>{escape(plot.caption)}</figcaption></figure>"


def _table(table: Table) -> str:
    head = "".join(f'<th scope="col">{escape(text)}</th>' for text in table.head)
    body = "".join(
        f'<tr><th scope="row">{escape(first)}</th>{"".join(f"<td>{escape(text)}</td>" for text in rest)}</tr>'
        for first, *rest in table.rows
    )
    caption = f"<caption>{escape(table.caption)}</caption>"
    return (
        f'<div class="wide" tabindex="0" role="region" aria-label="{escape(table.caption)}"><table>{caption}'
        f"<thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>"
    )


def _list(texts: tuple[str, ...]) -> str:
    return f"<ul>{''.join(f'<li>{escape(text)}</li>' for text in texts)}</ul>"
