"""What is audited once per release of a recipe, and not per request: U-LiRA over many shadow models."""

from typing import Annotated, Literal

from pydantic import Field

from service.domain.recipes import Method
from service.domain.values import OpenShare, Seed, Value


class RecipePlan(Value):
    """N shadow models of the model's own recipe, each trained and then made to forget by the production code path.

    A pool of persons (of rows, where there are none) is dealt by coin: each shadow is trained with its half of the
    pool, which is then unlearned; the other half it never sees. Hashed before anything is scored.
    """

    method: Method
    shadows: Annotated[int, Field(ge=8, le=2_048)] = 64     # 64 quick, 256 standard, 512 full
    forget: OpenShare = 0.05            # share of the train rows that a shadow forgets; the pool is twice as large
    chunk: Annotated[int, Field(ge=1, le=256)] = 16         # shadows of one child job
    variance: Literal["per_example", "fixed", "nig"] = "nig"
    alpha: OpenShare = 0.05             # of the bound on ε, and of the tests per example
    delta: Annotated[float, Field(ge=0, lt=0.1)] = 0.0
    bootstrap: Annotated[int, Field(ge=99, le=999_999)] = 2_000     # draws of whole models
    seed: Seed = 0
