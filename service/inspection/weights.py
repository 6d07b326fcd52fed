"""What uploaded weights have to be, and how to have them looked at. Reading happens in a child; see `tensors`."""

import json
from collections.abc import Mapping
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from service import sandbox
from service.errors import BadInput, Fault, InvalidWeights

Expected = Mapping[str, tuple[str, tuple[int, ...]]]       # name → dtype in safetensors spelling, shape
_FAULTS = TypeAdapter(tuple[Fault, ...])


def inspect_weights(path: Path, expected: Expected | None, *, limits: sandbox.Limits | None = None) -> None:
    """InvalidWeights unless the file is safetensors with exactly these tensors, or with any, all of them finite."""
    found = sandbox.run(
        "service.inspection.tensors", str(path.absolute()), json.dumps(expected), limits=limits or sandbox.Limits()
    )
    try:
        faults = _FAULTS.validate_python(found)
    except ValidationError:
        raise BadInput("the file could not be parsed within limits") from None
    if faults:
        raise InvalidWeights(f"the weights have {len(faults)} fault{'s' * (len(faults) != 1)}", faults=faults)
