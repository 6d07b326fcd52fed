"""Numbers as a reader wants them."""

from collections.abc import Sequence

NONE = "–"
Ends = Sequence[float]


def count(n: int, noun: str) -> str:
    """`1 record`, `1,200 records`."""
    return f"{n:,} {noun}{'' if n == 1 else 's'}"


def three(value: float | None) -> str:
    """Three digits, or a dash."""
    return NONE if value is None else f"{round(value, 3) + 0.0:.3f}".replace("-", "−")


def signed(value: float | None) -> str:
    """Three digits with their sign; 0 has none."""
    if value is None:
        return NONE
    return f"{value:+.3f}".replace("-", "−") if round(value, 3) else "0.000"


def within(value: float | None, ends: Ends | None) -> str:
    """A value and its interval."""
    return three(value) if value is None or ends is None else f"{three(value)} ({dash(ends)})"


def within_signed(value: float | None, ends: Ends | None) -> str:
    """A difference and its interval."""
    if value is None or ends is None:
        return signed(value)
    return f"{signed(value)} ({signed(ends[0])} to {signed(ends[1])})"


def dash(ends: Ends) -> str:
    """An interval; one that crosses 0 is spelled so that no dash is taken for a sign."""
    low, high = map(three, ends)
    return f"{low} to {high}" if min(ends) < 0 else f"{low}–{high}"


def chance(p: float | None) -> str:
    """A p-value."""
    if p is None:
        return NONE
    return "< 0.0001" if p < 1e-4 else f"{p:.4f}"


def percent(share: float | None) -> str:
    """Whole percent; below ten two significant digits."""
    if share is None:
        return NONE
    return f"{100 * share:.0f} %" if share >= 0.1 else f"{100 * share:.2g} %"


def capital(text: str) -> str:
    """With a capital letter; those that are there stay."""
    return text[:1].upper() + text[1:]
