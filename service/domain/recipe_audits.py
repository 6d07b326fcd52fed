"""What is audited once per release of a recipe, and not per request: U-LiRA over many shadow models."""

from hashlib import sha256
from typing import Annotated, Literal

import rfc8785
from pydantic import Field

from service.domain.recipes import Method, Spec
from service.domain.values import OpenShare, Seed, Value


class RecipePlan(Value):
    """N shadow models of the model's own recipe, each trained and then made to forget by the production code path.

    A pool of persons (of rows, where there are none) is dealt by coin: each shadow is trained with its half of the
    pool, which is then unlearned; the other half it never sees. The next shadow gets the other half, so that as many
    had a row as had not. Hashed before anything is scored.
    """

    method: Method
    shadows: Annotated[int, Field(ge=8, le=2_048, multiple_of=2)] = 64     # 64 quick, 256 standard, 512 full
    forget: OpenShare = 0.05            # share of the train rows that a shadow forgets; the pool is twice as large
    chunk: Annotated[int, Field(ge=1, le=256)] = 16         # shadows of one child job
    variance: Literal["per_example", "fixed", "nig"] = "nig"
    alpha: OpenShare = 0.05             # of the bound on ε, and of the tests per example
    delta: Annotated[float, Field(ge=0, lt=0.1)] = 0.0
    seed: Seed = 0


def recipe_sha256(dataset_sha256: str | None, spec: Spec, method: Method) -> str:
    """What an audit of a recipe is kept under: the rows, the training recipe and the method, in hex.

    The training seed is no part of it, since every shadow has its own.
    """
    of_models, of_forgetting = (value.model_dump(mode="json") for value in (spec.seeded(0), method))
    told = {"dataset": dataset_sha256, "spec": of_models, "method": of_forgetting}
    return sha256(rfc8785.dumps(told)).hexdigest()
