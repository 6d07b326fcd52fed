"""What the audit costs, and what the audit of a recipe tells apart: all parts in one answer."""

from collections.abc import Callable, Collection
from typing import Final

from worker.bench import audit_shadows
from worker.bench.audit_population import population
from worker.bench.audit_rmia import rmia

Part = Callable[[bool], dict[str, object]]


def bench(
    *, quick: bool = False, only: Collection[str] = (), on_part: Callable[[str], object] = lambda _: None
) -> dict[str, object]:
    """The parts that are asked for, or all, under the keys that the design names.

    Args:
        quick: small sizes, to see that it works; the numbers mean nothing then.
    """
    found: dict[str, object] = {}
    for name in only or PARTS:
        on_part(name)
        found |= PARTS[name](quick)
    return found


def _population(quick: bool) -> dict[str, object]:
    return {**(population(300, 300, 6, 99, 99) if quick else population())}


def _rmia(quick: bool) -> dict[str, object]:
    return {**(rmia(2, 100, 200) if quick else rmia())}


def _speedup(quick: bool) -> dict[str, object]:
    return {"shadow_speedup": audit_shadows.shadow_speedup(quick=quick)}


def _ulira(quick: bool) -> dict[str, object]:
    return {"ulira": audit_shadows.ulira(quick=quick)}


PARTS: Final[dict[str, Part]] = {
    "population": _population, "rmia": _rmia, "shadow_speedup": _speedup, "ulira": _ulira
}
