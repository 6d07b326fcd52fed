"""What one row looks like to a model."""

from typing import Annotated, Literal

from pydantic import Field

from service.domain.values import Value


class Vector(Value):
    """Rows are lists of `features` floats."""

    kind: Literal["vector"] = "vector"
    features: Annotated[int, Field(gt=0, le=65_536)]


class Image(Value):
    """Rows are pictures of one size, scaled to [0, 1]."""

    kind: Literal["image"] = "image"
    channels: Literal[1, 3]
    height: Annotated[int, Field(gt=0, le=1024)]
    width: Annotated[int, Field(gt=0, le=1024)]


class Tokens(Value):
    """Rows are texts as `length` numbers of words below `vocabulary`; 0 fills up what is shorter."""

    kind: Literal["tokens"] = "tokens"
    length: Annotated[int, Field(gt=0, le=4096)] = 128             # longer texts are cut
    vocabulary: Annotated[int, Field(ge=3, le=1 << 20)] = 16_384    # words are hashed into this many numbers


InputShape = Annotated[Vector | Image | Tokens, Field(discriminator="kind")]
