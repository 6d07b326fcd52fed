"""`expunge-worker convert`: a program of torch.export becomes a family of the menu and its weights."""

from pathlib import Path

from cyclopts.types import ExistingFile
from rich.console import Console

from service.domain.recipes import Exported
from worker.convert import FAMILY, WEIGHTS, convert
from worker.program import NORM

screen = Console(stderr=True)
FROZEN = (
    "[yellow]It was exported in evaluation mode[/]: trained from scratch, its batch normalisation keeps the statistics "
    "it begins with. For a model that shall be retrained, call model.train() before torch.export.export."
)


def convert_(program: ExistingFile, *, out: Path) -> None:
    """Convert a .pt2 file of torch.export.save; it is read in a sandbox, and nothing in it is run.

    Args:
        program: .pt2 file, exported with a dynamic number of rows.
        out: folder for weights.safetensors and family.json.
    """
    family = convert(program, out)
    screen.print(f"{out}: {FAMILY} with {len(family.graph.nodes)} operators, {WEIGHTS}")
    if frozen(family):
        screen.print(FROZEN)


def frozen(family: Exported) -> bool:
    """Whether there is a batch normalisation that never follows the mode of the module."""
    return any(node.op == NORM and node.args.get("training") is False for node in family.graph.nodes)
