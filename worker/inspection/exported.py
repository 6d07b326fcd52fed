"""Translate a program of torch.export to one of pure operators; runs in the sandbox as `-m worker.inspection.exported`.

Differs from the program as it was saved: an operator that works in place becomes the pure one, and who asks for the old
value gets the new one; checks of shapes, dropout that is switched off, and tensors that nothing uses are left out.
"""

import json
import sys
from base64 import b64encode
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from re import fullmatch

from pydantic import ValidationError
from safetensors.numpy import save_file

from service.domain.recipes import Exported
from service.domain.recipes.operators import OPERATORS
from service.domain.recipes.own import (
    Argument,
    Held,
    Infinite,
    Node,
    OfType,
    Program,
    ProgramInput,
    ProgramTensor,
    Result,
    Scalar,
)
from service.errors import Fault
from worker.inspection.archive import DTYPES, Archive, Array, Json, Unusable, whole

ABOUT_MEMORY = {"copy", "device", "layout", "memory_format", "non_blocking", "pin_memory"}
CHECKS = {"_assert_scalar", "_assert_tensor_metadata", "sym_constrain_range", "sym_constrain_range_for_size"}
SAME = {"alias", "lift_fresh_copy"}
VIEWS = {
    "chunk", "contiguous", "detach", "expand", "expand_as", "flatten", "movedim", "narrow", "permute", "reshape",
    "select", "slice", "split", "split_with_sizes", "squeeze", "t", "to", "transpose", "type_as", "unbind", "unflatten",
    "unsqueeze", "view",
}
SYMBOL = r"Symbol\('(\w+)', positive=True, integer=True\)"
DYNAMIC = "export it with dynamic_shapes=({0: torch.export.Dim.DYNAMIC},), so that a batch may have any number of rows"


class Translation:
    """What the names of a saved program stand for, and the nodes so far."""

    def __init__(self, archive: Archive) -> None:
        self.saved = archive.document["graph_module"]["graph"]
        self.arrays, self.buffers = archive.arrays(), set[str]()
        self.kept = first_of_each(self.arrays)
        self.stands: dict[str, Scalar] = {}
        self.nodes: list[Node] = []
        self.results = 1
        self.viewed: set[int] = set()       # results that share their memory with another
        self.unknown: set[str] = set()

    def inputs(self, specs: Json) -> ProgramInput:
        """Say what the program is handed: its tensors, and one batch."""
        batches = [name for spec in specs if (name := self.handed(spec))]
        if len(batches) != 1:
            raise Unusable(f"the program takes {len(batches)} inputs where it needs one, a batch of rows")
        shape, dtype = self.shape_of(batches[0])
        if dtype not in {"F32", "I64"}:
            raise Unusable("the program takes neither floats of 32 bits nor numbers of words of 64")
        return ProgramInput(shape=tuple(shape), dtype="I64" if dtype == "I64" else "F32")

    def handed(self, spec: Json) -> str | None:
        """Note what one input stands for; its name where it is a batch."""
        match spec:
            case {"user_input": {"arg": {"as_tensor": {"name": name}}}}:
                self.stands[name] = Result(result=0)
                return name
            case {"parameter": {"arg": {"name": name}, "parameter_name": tensor}}:
                self.stands[name] = Held(tensor=self.kept[tensor])
            case {"buffer": {"arg": {"name": name}, "buffer_name": tensor}} | {
                "tensor_constant": {"arg": {"name": name}, "tensor_constant_name": tensor}
            }:
                self.buffers.add(tensor)
                self.stands[name] = Held(tensor=tensor)
            case _:
                raise Unusable("the program takes something that is no tensor")
        return None

    def output(self, specs: Json) -> tuple[int, int]:
        """Which result is the answer, and how many numbers it has for a row."""
        match specs:
            case [{"user_output": {"arg": {"as_tensor": {"name": name}}}}]:
                shape, dtype = self.shape_of(name)
                stands = self.stands[name]
            case _:
                raise Unusable("the program gives something else than one tensor, or changes its own state")
        if len(shape) != 1 or dtype != "F32" or not isinstance(stands, Result):
            raise Unusable("the program does not give floats of 32 bits of the shape (rows, outputs)")
        return stands.result, shape[0]

    def shape_of(self, name: str) -> tuple[list[int], str | None]:
        """The shape of one row and the dtype of a tensor whose first side is the batch."""
        meta = self.saved["tensor_values"][name]
        sides = meta["sizes"]
        formula = sides[0].get("as_expr", {}).get("expr_str", "") if sides else ""
        if not fullmatch(SYMBOL, formula):
            raise Unusable(f"the number of rows is fixed: {DYNAMIC}")
        if not all("as_int" in side for side in sides[1:]):
            raise Unusable("more than the number of rows may vary: only the first side can be dynamic")
        return [whole(side) for side in sides[1:]], DTYPES.get(meta["dtype"])

    # ---- nodes ------------------------------------------------------------------------------------------------------

    def add(self, saved: Json) -> None:
        """Translate one node."""
        name, verb, pure = spelt(saved["target"])
        outs, unpack = names_of(saved["outputs"])
        if verb in CHECKS:
            return
        if pure not in OPERATORS:
            self.unknown.add(name)
            self.stands |= dict.fromkeys(outs, Result(result=0))
            return
        args = self.arguments(saved["inputs"])
        first = next(iter(args.values()), None)
        in_place = pure != name and verb != "detach_"       # which changes no number
        if in_place and isinstance(first, Held):
            self.counted(verb, first)
        elif not isinstance(first, tuple) and (verb in SAME or args.get("train") is False):
            self.stands |= dict.fromkeys(outs, first)
        else:
            self.emit(Node.model_validate({"op": pure, "args": args, "unpack": unpack}), outs, in_place=in_place)

    def counted(self, verb: str, tensor: Held) -> None:
        """Batches that a normalisation has counted are not needed; no other state may be changed."""
        if verb != "add_" or not tensor.tensor.endswith("num_batches_tracked"):
            raise Unusable(f"the program changes its own tensor {tensor.tensor!r}")

    def emit(self, node: Node, outs: list[str], *, in_place: bool) -> None:
        """Append a node; whoever knew what it has overwritten, knows its result from now on."""
        mine = [Result(result=self.results + i) for i in range(len(outs))]
        verb, asked = node.op.split(".")[1], [each for each in node.scalars() if isinstance(each, Result)]
        if in_place:
            if asked[0].result in self.viewed:
                raise Unusable(f"{node.op} works in place on a tensor that is shared: use inplace=False there")
            self.stands |= {name: mine[0] for name, each in self.stands.items() if each == asked[0]}
        if verb in VIEWS:
            self.viewed |= {each.result for each in (*asked, *mine)}
        self.stands |= dict(zip(outs, mine, strict=True))
        self.nodes.append(node)
        self.results += len(mine)

    def arguments(self, inputs: Json) -> dict[str, Argument]:
        """The arguments by name, without those that say where in memory a result shall be."""
        return {each["name"]: self.argument(each["arg"]) for each in inputs if each["name"] not in ABOUT_MEMORY}

    def argument(self, saved: Json) -> Argument:
        """An argument, whatever its kind."""
        ((kind, value),) = saved.items()
        match kind:
            case "as_tensors" | "as_optional_tensors" | "as_sym_ints" | "as_floats" | "as_ints" | "as_bools":
                return tuple(self.scalar(kind.removesuffix("s"), each) for each in value)
            case _:
                return self.scalar(kind, value)

    def scalar(self, kind: str, value: Json) -> Scalar:
        """One argument, or one of a list."""
        match kind, value:
            case ("as_none", _) | (_, {"as_none": _}):
                return None
            case ("as_tensor", {"name": name}) | (_, {"as_tensor": {"name": name}}) | ("as_sym_int", {"as_name": name}):
                return self.stands[name]
            case "as_sym_int", {"as_int": int(number)}:
                return number
            case "as_float", "Infinity" | "-Infinity":
                return Infinite(number="inf" if value == "Infinity" else "-inf")
            case "as_float", float() | int():
                return float(value)
            case "as_int", 0x7FFF_FFFF_FFFF_FFFF:       # of a slice: up to the end
                return None
            case ("as_int", int()) | ("as_bool", bool()) | ("as_string", str()):
                return value
            case "as_scalar_type", int() if value in DTYPES:
                return OfType(dtype=DTYPES[value])
            case _:
                raise Unusable(f"an operator takes an argument that is not known here: {kind}")

    # ---- tensors ----------------------------------------------------------------------------------------------------

    def tensors(self) -> Iterator[ProgramTensor]:
        """What the nodes use."""
        used = {each.tensor for node in self.nodes for each in node.scalars() if isinstance(each, Held)}
        statistics = {
            each.tensor for node in self.nodes for name in ("running_mean", "running_var")
            if isinstance(each := node.args.get(name), Held)
        }
        for name in (name for name in self.arrays if name in used):
            array = self.arrays[name]
            shape, dtype = array.values.shape, array.dtype
            if name in self.buffers and name not in statistics:
                yield ProgramTensor(
                    name=name, kind="constant", dtype=dtype, shape=shape, data=b64encode(array.values.tobytes())
                )
            elif dtype != "F32":
                raise Unusable(f"{name!r} is {dtype}: save the weights as floats of 32 bits")
            else:
                kind = "statistic" if name in self.buffers else "parameter" if array.trainable else "frozen"
                yield ProgramTensor(name=name, kind=kind, shape=shape)


def spelt(target: str) -> tuple[str, str, str]:
    """An operator as the menu spells it, what it does, and the pure one where it works in place."""
    name = target.removeprefix("torch.ops.").replace("_operator.", "operator.", 1)
    verb = name.split(".")[1] if "." in name else name
    return name, verb, name.replace(f".{verb}", f".{verb.rstrip('_')}", 1)


def names_of(outputs: Json) -> tuple[list[str], int]:
    """The names of a node's results, and how many there are if it is a list that it gives."""
    match outputs:
        case [{"as_tensor": {"name": name}}] | [{"as_sym_int": {"as_name": name}}]:
            return [name], 0
        case [{"as_tensors": listed}]:
            return [each["name"] for each in listed], len(listed)
        case _:
            return [each["as_tensor"]["name"] for each in outputs], len(outputs)


def first_of_each(arrays: dict[str, Array]) -> dict[str, str]:
    """For every tensor the name that is kept: tied ones have one. Tensors that overlap are refused."""
    kept: dict[str, str] = {}
    for name, array in arrays.items():
        kept.setdefault(array.source, name)
    parts = [source.partition(" ")[0] for source in kept]
    if len(set(parts)) < len(parts):
        raise Unusable("two tensors of the program overlap in memory: save a copy of one")
    return {name: kept[array.source] for name, array in arrays.items()}


def translated(archive: Archive) -> tuple[Exported, dict[str, Array]]:
    """The family, and the tensors that are its weights.

    Raises:
        Unusable: the program has a part that cannot be verified.
    """
    signature = archive.document["graph_module"]["signature"]
    work = Translation(archive)
    rows = work.inputs(signature["input_specs"])
    for saved in work.saved["nodes"]:
        work.add(saved)
    if work.unknown:
        raise Unusable(f"these operators are not known here to be pure: {', '.join(sorted(work.unknown))}")
    for told in archive.document["range_constraints"].values():
        if told["max_val"] is not None or (told["min_val"] or 0) > 2:
            raise Unusable(f"the number of rows is bounded: {DYNAMIC}")
    output, outputs = work.output(signature["output_specs"])
    tensors = tuple(work.tensors())
    program = Program(input=rows, tensors=tensors, nodes=tuple(work.nodes), output=output, outputs=outputs)
    return Exported(graph=program), {t.name: work.arrays[t.name] for t in tensors if t.kind != "constant"}


def main(path: str, weights: str) -> None:
    """Write the weights, and print the family or the faults as JSON."""
    try:
        family, arrays = translated(Archive(Path(path)))
    except Unusable as error:
        tell(str(error))
    except ValidationError as error:
        tell(error.errors(include_url=False, include_input=False)[0]["msg"])
    else:
        save_file({name: array.values for name, array in arrays.items()}, weights)
        json.dump({"family": family.model_dump(mode="json")}, sys.stdout)


def tell(fault: str) -> None:
    """Say what is wrong with the file."""
    json.dump({"faults": [asdict(Fault("/file", fault))]}, sys.stdout)


if __name__ == "__main__":
    main(*sys.argv[1:])
