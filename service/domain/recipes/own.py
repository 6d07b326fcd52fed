"""Architectures of one's own: a Python function of the operator's packages, or a program exported by torch."""

from collections.abc import Iterator
from math import prod
from typing import Annotated, Literal, Self

from pydantic import Base64Bytes, Field, StrictBool, StrictFloat, StrictInt, model_validator

from service.domain.recipes.operators import Operator
from service.domain.values import Value

BYTES = {"F64": 8, "I64": 8, "F32": 4, "I32": 4, "F16": 2, "BF16": 2, "I16": 2, "I8": 1, "U8": 1, "BOOL": 1}
MOST_NUMBERS = 1 << 31      # in all tensors of a program
MOST_CONSTANT = 8 << 20     # bytes of all constants of a program

Dtype = Literal["F64", "F32", "F16", "BF16", "I64", "I32", "I16", "I8", "U8", "BOOL"]       # as safetensors spells it
Dotted = Annotated[str, Field(pattern=r"^\w+(\.\w+)*$", max_length=200)]
Side = Annotated[int, Field(ge=0, le=1 << 31)]
Sides = Annotated[tuple[Side, ...], Field(max_length=8)]
Whole = Annotated[StrictInt, Field(gt=-(2**53), lt=2**53)]      # that every reader of JSON has exactly


class Python(Value):
    """`factory(shape, classes)` of a package that the operator has listed in EXPUNGE_ARCHITECTURES."""

    name: Literal["python"] = "python"
    factory: Annotated[str, Field(pattern=r"^[A-Za-z_][\w.]*:[A-Za-z_]\w*$", max_length=200)]

    @property
    def package(self) -> str:
        """What has to be listed."""
        return self.factory.partition(":")[0].partition(".")[0]


class Result(Value):
    """What an earlier node gave; 0 is the input, and each node's results take the next numbers."""

    result: Annotated[int, Field(ge=0)]


class Held(Value):
    """A tensor of the program, by its name."""

    tensor: Dotted


class OfType(Value):
    """A dtype."""

    dtype: Dtype


class Infinite(Value):
    """A number that JSON cannot spell."""

    number: Literal["inf", "-inf"]


Word = Annotated[str, Field(pattern=r"^[A-Za-z,.>\- ]*$", max_length=64)]      # "same", "tanh", an einsum's equation
Scalar = Result | Held | OfType | Infinite | StrictBool | Whole | StrictFloat | Word | None
Argument = Scalar | Annotated[tuple[Scalar, ...], Field(max_length=1024)]


class Node(Value):
    """One operator, its arguments by name, and how many results it has: 0 says one that is no list."""

    op: Operator
    args: Annotated[dict[Annotated[str, Field(pattern=r"^[a-z_0-9]{1,32}$")], Argument], Field(max_length=16)]
    unpack: Annotated[int, Field(ge=0, le=1024)] = 0

    def scalars(self) -> Iterator[Scalar]:
        """All arguments, those in lists too."""
        for each in self.args.values():
            if isinstance(each, tuple):
                yield from each
            else:
                yield each


class ProgramTensor(Value):
    """A tensor of a program. Weights and statistics lie in a file beside it; a constant is part of the program."""

    name: Dotted
    kind: Literal["parameter", "frozen", "statistic", "constant"]
    dtype: Dtype = "F32"
    shape: Sides
    data: Annotated[Base64Bytes | None, Field(description="Of a constant: its numbers, little-endian.")] = None

    @model_validator(mode="after")
    def _is_whole(self) -> Self:
        if (self.kind == "constant") != (self.data is not None):
            raise ValueError("a constant has data, and nothing else has")
        if self.data is not None and len(self.data) != prod(self.shape) * BYTES[self.dtype]:
            raise ValueError("the data of a constant are as many bytes as its shape and dtype say")
        if self.kind != "constant" and self.dtype != "F32":
            raise ValueError("weights and statistics are F32")
        return self


class ProgramInput(Value):
    """One row, as the program takes it; the rows of a batch come first."""

    shape: Sides
    dtype: Literal["F32", "I64"] = "F32"


class Program(Value):
    """A verified program: pure operators in the order of their execution, from (n, …) to (n, outputs)."""

    input: ProgramInput
    tensors: Annotated[tuple[ProgramTensor, ...], Field(max_length=10_000)]
    nodes: Annotated[tuple[Node, ...], Field(min_length=1, max_length=20_000)]
    output: Annotated[int, Field(ge=1)]
    outputs: Annotated[int, Field(ge=1, le=100_000)]

    @model_validator(mode="after")
    def _refers_backwards(self) -> Self:
        names, known = {t.name for t in self.tensors}, 1
        for i, node in enumerate(self.nodes):
            for each in node.scalars():
                if isinstance(each, Result) and each.result >= known:
                    raise ValueError(f"node {i} refers to a result that is not there yet")
                if isinstance(each, Held) and each.tensor not in names:
                    raise ValueError(f"node {i} refers to a tensor that is not there")
            known += max(1, node.unpack)
        if self.output >= known:
            raise ValueError("the output is the result of no node")
        return self

    @model_validator(mode="after")
    def _is_bounded(self) -> Self:
        if len({t.name for t in self.tensors}) < len(self.tensors):
            raise ValueError("a tensor's name is there twice")
        if sum(prod(t.shape) for t in self.tensors) > MOST_NUMBERS:
            raise ValueError(f"the tensors have more than {MOST_NUMBERS} numbers")
        if sum(len(t.data or b"") for t in self.tensors) > MOST_CONSTANT:
            raise ValueError(f"the constants have more than {MOST_CONSTANT} bytes")
        return self


class Exported(Value):
    """A program that `expunge-worker convert` has made of a file of torch.export."""

    name: Literal["exported"] = "exported"
    graph: Program


def weights_of(program: Program) -> dict[str, tuple[str, tuple[int, ...]]]:
    """Dtype and shape of everything that lies in the file beside the program."""
    return {t.name: (t.dtype, t.shape) for t in program.tensors if t.kind != "constant"}
