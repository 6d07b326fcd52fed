"""Page tokens of collections that are listed newest first: the time and id of the last one seen."""

import base64
import binascii
from datetime import datetime
from uuid import UUID

from service.errors import BadInput, Fault


def token(at: datetime, last: UUID) -> str:
    """What a client sends back to get the next page."""
    return base64.urlsafe_b64encode(f"{at.isoformat()} {last}".encode()).decode()


def read_token(told: str) -> tuple[datetime, UUID] | None:
    """The time and id in a token; None where there is none.

    Raises:
        BadInput: this was never a token.
    """
    if not told:
        return None
    try:
        at, last = base64.urlsafe_b64decode(told).decode().split(" ")
        return datetime.fromisoformat(at), UUID(last)
    except (ValueError, binascii.Error):
        detail = "is no token of this collection"
        raise BadInput(f"The page_token {detail}", faults=[Fault("/page_token", detail)]) from None
