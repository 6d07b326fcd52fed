"""A benchmark's answer for the eye."""

from collections.abc import Mapping, Sequence

from rich.table import Table


def table(title: str, rows: Sequence[Mapping[str, object]]) -> Table:
    """One line per row; a number stands with half its interval."""
    columns = [key for key in rows[0] if not key.endswith("_ci")]
    out = Table(title=title)
    for key in columns:
        out.add_column(key.replace("_", " "), no_wrap=key == columns[0])
    for row in rows:
        out.add_row(*(cell(row[key], row.get(f"{key}_ci")) for key in columns))
    return out


def cell(value: object, interval: object) -> str:
    """A number in three places."""
    if not isinstance(value, float):
        return "–" if value is None else str(value)
    return f"{value:.3f}" + (f" ± {(interval[1] - interval[0]) / 2:.3f}" if isinstance(interval, list) else "")
