"""A verified program as a module: its tensors under their own names, its nodes called one after the other.

An operator is looked up in one table; a name that is not on the menu is found nowhere. Batch normalisation and dropout
that were exported in training mode follow the mode of the module; exported in evaluation mode they stay in it.
First weights are ours, by what a tensor does in the program: as torch's layers begin, and N(0, 0.02²) where nothing is
known. A constant is part of the program and stays as it is.
"""

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from math import inf, sqrt
from typing import Any, TypeAlias

import torch
from torch import Tensor, nn

from service.domain.recipes.operators import OPERATORS
from service.domain.recipes.own import Argument, Held, Infinite, Node, OfType, Program, ProgramTensor, Result, Scalar

First: TypeAlias = Callable[[Tensor], object]   # writes a tensor's first numbers; draws from the global generator
Results: TypeAlias = list[Any]                  # tensors, and numbers such as the rows of a batch

DTYPES = {
    "F64": torch.float64, "F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16, "I64": torch.int64,
    "I32": torch.int32, "I16": torch.int16, "I8": torch.int8, "U8": torch.uint8, "BOOL": torch.bool,
}
NUMBERS = {"inf": inf, "-inf": -inf}
COUNTS: dict[str, Callable[..., int]] = {       # of whole numbers; the operators of Python take no names
    "operator.add": lambda a, b: a + b,
    "operator.floordiv": lambda a, b: a // b,
    "operator.mul": lambda a, b: a * b,
    "operator.neg": lambda a: -a,
    "operator.sub": lambda a, b: a - b,
}


def of_torch(name: str) -> Callable[..., Any]:
    """An operator of the menu."""
    _, verb, overload = name.split(".")
    return getattr(getattr(torch.ops.aten, verb), overload)


TABLE: dict[str, Callable[..., Any]] = {name: COUNTS.get(name) or of_torch(name) for name in sorted(OPERATORS)}
MADE = {name for name in OPERATORS if name.split(".")[1] in {"arange", "full", "ones", "zeros"}}
DROPPING = {"aten.dropout.default": "train", "aten.feature_dropout.default": "train"}
NORM, ATTENTION = "aten.batch_norm.default", "aten.scaled_dot_product_attention.default"


class Branch(nn.Module):
    """A place in the tree of names, and how its own tensors begin."""

    def __init__(self) -> None:
        super().__init__()
        self._firsts: dict[str, First] = {}

    def begins(self, name: str, first: First) -> None:
        """Remember how a tensor of this place begins."""
        self._firsts[name] = first

    def reset_parameters(self) -> None:
        """First weights and statistics, from torch's global generator."""
        with torch.no_grad():
            for name, first in self._firsts.items():
                first(getattr(self, name))


class Norm(Branch, nn.BatchNorm2d):
    """The place of a batch normalisation, which is known by its class to who freezes or trains it."""

    def __init__(self) -> None:
        nn.Module.__init__(self)
        self._firsts = {}
        self.track_running_stats, self.num_batches_tracked = False, None

    def extra_repr(self) -> str:
        return ""


class Graph(Branch):
    """(n, …) → (n, outputs), as the program says."""

    def __init__(self, program: Program) -> None:
        super().__init__()
        self._program = program
        self._last = last_uses(program)
        statistics = {place(n) for n in statistics_of(program)}
        firsts = firsts_of(program)
        for tensor in program.tensors:
            self._plant(tensor, statistics, firsts.get(tensor.name, small))
        for module in self.modules():
            if isinstance(module, Branch):
                module.reset_parameters()

    def _plant(self, tensor: ProgramTensor, statistics: set[str], first: First) -> None:
        """Put a tensor where its name says."""
        branch, path = self, place(tensor.name)
        for i, part in enumerate(parts := path.split(".") if path else []):
            if part not in branch._modules:
                branch.add_module(part, Norm() if ".".join(parts[: i + 1]) in statistics else Branch())
            branch = branch.get_submodule(part)
        grown(branch, tensor, first)

    def forward(self, x: Tensor) -> Tensor:
        return self.run(x)

    def run(self, x: Tensor, watch: Callable[[object], None] | None = None) -> Tensor:
        """The output; `watch` is told what each node gives."""
        named = dict(self.named_parameters(remove_duplicate=False)) | dict(self.named_buffers(remove_duplicate=False))
        results: Results = [x]
        for node, over in zip(self._program.nodes, self._last, strict=True):
            given = {name: resolved(each, results, named) for name, each in node.args.items()}
            got = TABLE[node.op](**self._by_mode(node, given, x.device))
            results.extend(unpacked(got, node.unpack) if node.unpack else (got,))
            if watch:
                watch(got)
            for i in over:
                results[i] = None       # nobody asks for it again
        return results[self._program.output]

    def _by_mode(self, node: Node, given: dict[str, Any], device: torch.device) -> dict[str, Any]:
        """What depends on mode and device, and not on the program alone."""
        if node.op in DROPPING:
            given[DROPPING[node.op]] &= self.training
        elif node.op == ATTENTION and not self.training:
            given["dropout_p"] = 0.0
        elif node.op == NORM:
            given |= {"training": self._moves(node), "cudnn_enabled": torch.backends.cudnn.enabled}
        elif node.op in MADE:
            given["device"] = device
        return given

    def _moves(self, node: Node) -> bool:
        """Whether a normalisation takes the statistics of the batch: it has no others, or it is being trained."""
        mean, training = node.args["running_mean"], node.args["training"] is True
        return training and (not isinstance(mean, Held) or self.get_submodule(place(mean.tensor)).training)


def grown(branch: nn.Module, tensor: ProgramTensor, first: First) -> None:
    """Register a tensor in its place."""
    name = tensor.name.rpartition(".")[2]
    if tensor.kind == "constant":
        branch.register_buffer(name, constant(tensor), persistent=False)
        return
    held = torch.empty(tensor.shape, dtype=DTYPES[tensor.dtype])
    if tensor.kind == "statistic":
        branch.register_buffer(name, held)
    else:
        branch.register_parameter(name, nn.Parameter(held, requires_grad=tensor.kind == "parameter"))
    if isinstance(branch, Branch):
        branch.begins(name, first)


def constant(tensor: ProgramTensor) -> Tensor:
    """The numbers that the program brings."""
    if not tensor.data:
        return torch.empty(tensor.shape, dtype=DTYPES[tensor.dtype])
    return torch.frombuffer(bytearray(tensor.data), dtype=DTYPES[tensor.dtype]).reshape(tensor.shape)


def place(name: str) -> str:
    """The module that a tensor belongs to."""
    return name.rpartition(".")[0]


def unpacked(got: Sequence[Any], n: int) -> Sequence[Any]:
    """The results of a node that has several."""
    if len(got) != n:
        raise ValueError(f"{len(got)} results where the program has {n}")
    return got


# ---- arguments ------------------------------------------------------------------------------------------------------


def resolved(argument: Argument, results: Results, named: dict[str, Tensor]) -> Any:
    """What an argument stands for."""
    if isinstance(argument, tuple):
        return [resolved(each, results, named) for each in argument]
    match argument:
        case Result(result=i):
            return results[i]
        case Held(tensor=name):
            return named[name]
        case OfType(dtype=dtype):
            return DTYPES[dtype]
        case Infinite(number=number):
            return NUMBERS[number]
        case _:
            return argument


def last_uses(program: Program) -> list[list[int]]:
    """For each node the results that no later one asks for, so that memory is as small as that of the original."""
    last: dict[int, int] = {}
    made = 1
    for i, node in enumerate(program.nodes):
        last |= dict.fromkeys(range(made, made := made + max(1, node.unpack)), i)
        last |= {each.result: i for each in node.scalars() if isinstance(each, Result)}
    last.pop(program.output, None)
    over: list[list[int]] = [[] for _ in program.nodes]
    for result, i in last.items():
        over[i].append(result)
    return over


# ---- first weights --------------------------------------------------------------------------------------------------


def statistics_of(program: Program) -> Iterator[str]:
    """The running means and variances."""
    for node in program.nodes:
        if node.op == NORM:
            yield from (t for name in ("running_mean", "running_var") if (t := tensor_of(node.args.get(name))))


def tensor_of(argument: Argument) -> str | None:
    """The name of the tensor that is handed over as it is."""
    return argument.tensor if isinstance(argument, Held) else None


def firsts_of(program: Program) -> dict[str, First]:
    """How each tensor begins whose part in the program is known; the first node that uses it decides."""
    shapes = {t.name: t.shape for t in program.tensors}
    firsts: dict[str, First] = {}
    for node in program.nodes:
        for name, first in parts_of(node, shapes).items():
            if tensor := tensor_of(node.args.get(name)):
                firsts.setdefault(tensor, first)
    return firsts


def parts_of(node: Node, shapes: dict[str, tuple[int, ...]]) -> dict[str, First]:
    """How a layer's arguments begin."""
    match node.op.split(".")[1]:
        case "linear" | "conv1d" | "conv2d" | "conv3d" | "conv_transpose1d" | "conv_transpose2d":
            spread = partial(even, bound=bound_of(shapes.get(tensor_of(node.args.get("weight")) or "", ())))
            return {"weight": spread, "bias": spread}
        case "batch_norm" | "layer_norm" | "group_norm" | "rms_norm":
            ones, zeros = torch.nn.init.ones_, torch.nn.init.zeros_
            return {"weight": ones, "bias": zeros, "running_mean": zeros, "running_var": ones}
        case "embedding":
            padding: Scalar | tuple[Scalar, ...] = node.args.get("padding_idx", -1)
            return {"weight": partial(looked_up, padding=padding if isinstance(padding, int) else -1)}
        case "prelu":
            return {"weight": partial(nn.init.constant_, val=0.25)}
        case _:
            return {}


def bound_of(shape: Sequence[int]) -> float:
    """1/√(fan-in), between whose signs torch draws weights and biases."""
    return 1 / sqrt(max(1, torch.Size(shape[1:]).numel()))


def even(tensor: Tensor, *, bound: float) -> None:
    """U(−bound, bound)."""
    nn.init.uniform_(tensor, -bound, bound)


def small(tensor: Tensor) -> None:
    """N(0, 0.02²)."""
    nn.init.normal_(tensor, std=0.02)


def looked_up(tensor: Tensor, *, padding: int) -> None:
    """N(0, 1), and zeros for the padding."""
    nn.init.normal_(tensor)
    if padding >= 0:
        nn.init.zeros_(tensor[padding])
