"""A program of torch.export that was converted: its operators are pure, and its shapes are tried before it is trusted.

Differs from a family of the menu: first weights come from torch's global generator, as `training.build` seeds it.
"""

import torch
from torch import Tensor, nn

from service.domain.architectures import tensors_of
from service.domain.recipes import Exported, InputShape
from service.domain.recipes.own import Program
from service.errors import BadInput
from worker.program import DTYPES, Graph
from worker.registry import family

LARGEST = 1 << 26       # numbers that one row may become in between
UNFIT = (RuntimeError, TypeError, ValueError, IndexError, KeyError, AttributeError)      # what torch says to a bad call


@family(Exported)
def exported(f: Exported, shape: InputShape, classes: int) -> nn.Module:
    """(n, …) → (n, outputs)."""
    tensors_of(f, shape, classes)       # refuses data of another shape
    tried(f.graph)
    return Graph(f.graph)


def tried(program: Program) -> None:
    """Follow the shapes through the program without a number being computed, for batches of one, two and three.

    Raises:
        BadInput: an operator does not take what it is given, a result is too large, or the output is not (n, outputs).
    """
    try:
        with torch.device("meta"), torch.no_grad():
            probe = Graph(program).eval().to("meta")
            for n in (1, 2, 3):
                refuse_large(probe, program, n)
    except UNFIT as error:
        raise BadInput(f"the program cannot be run: {str(error).splitlines()[0]}") from error


def refuse_large(probe: Graph, program: Program, n: int) -> None:
    """Run it on the shape of n rows."""

    def watch(result: object) -> None:
        if isinstance(result, Tensor) and result.numel() > n * LARGEST:
            raise ValueError(f"a row becomes more than {LARGEST} numbers")

    x = torch.empty((n, *program.input.shape), dtype=DTYPES[program.input.dtype], device="meta")
    out = probe.run(x, watch)
    if tuple(out.shape) != (n, program.outputs) or out.dtype != torch.float32:
        raise ValueError(f"{n} rows give {list(out.shape)}, not {[n, program.outputs]} floats")
