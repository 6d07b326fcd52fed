"""What the ledger says of its keys: which one signs, since when, and where the others ended."""

from collections.abc import Sequence
from typing import Literal

from pydantic import AwareDatetime, BaseModel, Field

from service.domain.entries import KeyChanged
from service.ledger.checkpoints import Vkey, use_of
from service.ledger.envelopes import payload
from service.ledger.untrusted import at, read_json


class KeyState(BaseModel):
    """A public key; `from` and `until` are indices of entries, `since` is when it came to its status."""

    vkey: str
    signs: Literal["certificates", "checkpoints"]
    status: Literal["active", "standby", "retired"]     # standby: what it signed counts, but another signs now
    first: int | None = Field(serialization_alias="from")
    until: int | None
    since: AwareDatetime | None     # None: the ledger has begun with it
    reason: str | None              # of the retirement


def history(public: Sequence[Vkey], entries: Sequence[tuple[int, bytes]]) -> list[KeyState]:
    """Each key of `expunge.pub`, in its order.

    Args:
        entries: (index, envelope) of those that speak of keys; where they are silent, so is the answer.
    """
    changes = [(index, _change(envelope)) for index, envelope in entries]
    active = {use_of(key): key for key in public}       # the last of each use
    return [_state(key, changes, signs_now=key in active.values()) for key in public]


def _change(envelope: bytes) -> KeyChanged:
    return KeyChanged.model_validate(at(read_json(payload(envelope)), "predicate"))


def _state(key: Vkey, changes: Sequence[tuple[int, KeyChanged]], *, signs_now: bool) -> KeyState:
    begun = next((each for each in changes if (each[1].action, each[1].vkey) == ("rotated", str(key))), None)
    ended = next((each for each in changes if (each[1].action, each[1].vkey) == ("retired", str(key))), None)
    followed = next((each for each in changes if each[1].replaces == str(key)), None)
    latest = ended or followed or begun
    status = "active" if signs_now else "standby" if key.until is None else "retired"
    return KeyState(
        vkey=str(key), signs=use_of(key), status=status,
        first=begun[0] if begun else None, until=key.until, since=latest[1].at if latest else None,
        reason=ended[1].reason if ended else None,
    )  # fmt: skip
