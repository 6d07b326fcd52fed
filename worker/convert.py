"""A program of torch.export becomes a family and weights, once; from then on nobody opens the file again.

    1. a child without network, programs to start, environment or much memory reads the archive and unpickles nothing
    2. what it says is validated like anything that a stranger says: `service.domain.recipes.own`
    3. the weights that it wrote are looked at as uploaded ones are, in another child
    4. the program is followed with shapes alone, before a number is computed
"""

import shutil
import tempfile
from pathlib import Path

from pydantic import ValidationError

from service import sandbox
from service.domain.recipes import Exported
from service.domain.recipes.own import weights_of
from service.domain.values import Value
from service.errors import BadInput, Fault
from service.inspection.weights import inspect_weights
from worker.families.exported import tried

LIMITS = sandbox.Limits(memory_mb=8192, file_mb=8192, output_mb=64)
WEIGHTS, FAMILY = "weights.safetensors", "family.json"


class Outcome(Value):
    """What the child says: a family, or faults."""

    family: Exported | None = None
    faults: tuple[Fault, ...] = ()

    def unwrap(self) -> Exported:
        """The family; BadInput if there are faults instead."""
        if self.family is None or self.faults:
            said = self.faults[0].detail if self.faults else "it says nothing"
            raise BadInput(f"the program cannot be converted: {said}", faults=self.faults)
        return self.family


def convert(program: Path, folder: Path) -> Exported:
    """Write `weights.safetensors` and `family.json` of a `.pt2` file into a folder.

    Raises:
        BadInput: not an archive of torch.export.save, or one with a part that cannot be verified; nothing was written.
    """
    with tempfile.TemporaryDirectory(prefix="expunge-") as scratch:
        weights = Path(scratch) / WEIGHTS
        found = sandbox.run("worker.inspection.exported", str(program.absolute()), str(weights), limits=LIMITS)     # 1
        family = validated(found)                                                                                   # 2
        inspect_weights(weights, weights_of(family.graph))                                                          # 3
        tried(family.graph)                                                                                         # 4
        folder.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(weights, folder / WEIGHTS)
    (folder / FAMILY).write_text(family.model_dump_json() + "\n")
    return family


def validated(found: object) -> Exported:
    """The family that the child tells of."""
    try:
        return Outcome.model_validate(found).unwrap()
    except ValidationError:
        raise BadInput("the file could not be parsed within limits") from None
