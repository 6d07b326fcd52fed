"""Canaries: planted rows that say afterwards how much of a row a model keeps (one-run audit, arXiv:2305.08846).

A canary has the inputs of a training row and another, wrong label. A fair coin of its own decides whether it is trained
on. Its name is no secret and no person's; its coin is a secret until the audit.
"""

from typing import Annotated

from pydantic import Field

from service.domain.values import Seed, Value


class NewCanaries(Value):
    """How many to plant. About half of them will be trained on, as rows with wrong labels."""

    m: Annotated[int, Field(ge=10, le=20_000, description="1000 and more for a bound that says something.")] = 1_000
    seed: Annotated[Seed, Field(description="Of the rows and labels. The coins follow no seed.")] = 0


def sample_id(number: int) -> str:
    """The sample id of the canary with this number."""
    return f"expunge-canary-{number:06d}"
