"""What was said of the ledger outside its database: the published checkpoint, and the notes of every anchor."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import NamedTuple, TypeVar

from sqlalchemy import Engine

from service.db import anchored
from service.db.session import transaction
from service.errors import Damaged, NotFound, Unavailable
from service.ledger import publishing
from service.ledger.anchors import Anchor
from service.ledger.checkpoints import Checkpoint, Vkey, parse
from service.ledger.replay import Difference
from service.ledger.sealed import check_checkpoint
from service.ledger.untrusted import RefusedError
from service.storage import Named

T = TypeVar("T")


class Note(NamedTuple):
    """A checkpoint that a trusted key signed, and where it was found."""

    where: str
    checkpoint: Checkpoint


@dataclass(slots=True)
class Outside:
    """What was found; `away` names what did not answer."""

    notes: list[Note] = field(default_factory=list[Note])
    published: Checkpoint | None = None
    away: list[str] = field(default_factory=list[str])


def gather(engine: Engine, log: Named, anchors: Sequence[Anchor], keys: Sequence[Vkey]) -> Outside:
    """Every note that can be read.

    Args:
        keys: that may sign checkpoints.
    Raises:
        Difference: a note is not what was written there, or no longer there.
    """
    found = Outside()
    text = _unless_away(found, "the store", lambda: publishing.read(log))
    if text is not None:
        found.published = checked("The published checkpoint", text, keys)
        found.notes.append(Note("The published checkpoint", found.published))
    for each in anchors:
        with transaction(engine) as tx:
            given = set(anchored.sizes(tx, each.digest))    # before its notes are read: it may be given more
        read = partial(_notes, each, given, keys)
        found.notes += _unless_away(found, f"the {each}", lambda read=read: list(read())) or []
    return found


def _unless_away(found: Outside, name: str, read: Callable[[], T]) -> T | None:
    try:
        return read()
    except Unavailable:
        found.away.append(name)
        return None
    except (Damaged, NotFound) as error:
        raise Difference(f"Of {name} something cannot be read: {error.detail}") from None


def _notes(anchor: Anchor, given: set[int], keys: Sequence[Vkey]) -> Iterator[Note]:
    """All of an anchor's, among which must be those that it was given."""
    notes = anchor.place.notes()
    if notes is None:
        return
    for name, text in notes:
        where = f"The note {name} of the {anchor}"
        checkpoint = checked(where, text, keys)
        if str(checkpoint.size) != name:
            raise Difference(f"{where} is of another size: {checkpoint.size}")
        given.discard(checkpoint.size)
        yield Note(where, checkpoint)
    if given:
        raise Difference(f"The {anchor} no longer holds the checkpoint of {min(given)} entries that it was given")


def checked(where: str, text: str, keys: Sequence[Vkey]) -> Checkpoint:
    """A note's checkpoint, if a key that was in force signed it."""
    try:
        checkpoint = parse(text)
        check_checkpoint(checkpoint, keys)
    except RefusedError as refusal:
        raise Difference(f"{where} is not to be trusted: {refusal}") from None
    return checkpoint
