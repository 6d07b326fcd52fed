"""What `type` of a problem document leads to: every problem, what it says and what to do about it."""

from collections.abc import Iterator
from html import escape

from fastapi import APIRouter
from fastapi.responses import HTMLResponse

from service.errors import ExpungeError, JobError

router = APIRouter()
_PAGE = """<!doctype html><html lang="en"><meta charset="utf-8"><title>Problems</title>
<style>body {{ font: 16px/1.5 system-ui; max-width: 60rem; margin: 2rem auto; padding: 0 1rem }}
td, th {{ text-align: left; padding: .3rem .8rem .3rem 0; vertical-align: top }}</style>
<h1>Problems</h1><table><tr><th>slug<th>status<th>what it says<th>what to do</tr>{rows}</table></html>"""


@router.get("/docs/problems", response_class=HTMLResponse, include_in_schema=False)
def problem_list() -> str:
    """All problems, by slug."""
    return _PAGE.format(rows="".join(_row(kind) for kind in sorted(set(_kinds(ExpungeError)), key=lambda k: k.slug)))


def _kinds(kind: type[ExpungeError]) -> Iterator[type[ExpungeError]]:
    if not issubclass(kind, JobError):
        yield kind
    for child in kind.__subclasses__():
        yield from _kinds(child)


def _row(kind: type[ExpungeError]) -> str:
    cells = "".join(f"<td>{escape(str(cell))}" for cell in (kind.slug, kind.status, kind.title, kind.hint))
    return f'<tr id="{escape(kind.slug)}">{cells}</tr>'
