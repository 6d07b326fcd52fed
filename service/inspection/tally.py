"""A count for every kind of fault, so that a million wrong rows are one sentence."""

from service.errors import Fault


class Tally:
    """Faults by place and kind, in the order in which they were first seen."""

    def __init__(self) -> None:
        self._counts: dict[tuple[str, str], int | None] = {}

    def add(self, pointer: str, what: str, count: int) -> int:
        """Count cases of one kind; returns how many are new."""
        if count:
            self._counts[pointer, what] = (self._counts.get((pointer, what)) or 0) + count
        return count

    def say(self, pointer: str, what: str) -> None:
        """Something is wrong that has no number."""
        self._counts[pointer, what] = None

    def faults(self) -> tuple[Fault, ...]:
        return tuple(
            Fault(pointer, what if n is None else f"{what}: {n}") for (pointer, what), n in self._counts.items()
        )

    def is_clean(self, *pointers: str) -> bool:
        """Whether nothing is wrong in any of these places."""
        return not any(pointer in pointers for pointer, _ in self._counts)

    def __bool__(self) -> bool:
        return bool(self._counts)
