"""`expunge-worker ulira`: what does this recipe leave behind of what it was made to forget?"""

from hashlib import sha256
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter
from cyclopts.types import ExistingFile
from pydantic import ValidationError

from service.domain.recipe_audits import RecipePlan
from service.errors import BadInput
from worker.choosing import chosen
from worker.commands import bar, opened, screen
from worker.ulira import conclude, work


def ulira_(
    data: ExistingFile,
    model: ExistingFile,
    *,
    out: Path,
    method: str = "nabla_tau",
    set_: Annotated[tuple[str, ...], Parameter(name="--set", negative=())] = (),
    shadows: int = 64,
    forget: float = 0.05,
    seed: int = 0,
    device: str = "cpu",
) -> None:
    """Audit a recipe by U-LiRA: many shadow models are trained, made to forget, and told from those that never knew.

    Args:
        data: Parquet file with the rows.
        model: JSON file that describes the model.
        out: JSON file to write.
        method: a method's name, a preset's, or JSON.
        set_: a setting of the method, as often as needed: --set lr=1e-3 --set mask.name=and
        shadows: how many, an even number: 64 quick, 256 standard, 512 full.
        forget: share of the persons, or of the rows, that each of them forgets.
        seed: of the pool, the coins and the shadows.
        device: torch device.
    """
    source, plan = opened(data, model), planned(method, set_, shadows=shadows, forget=forget, seed=seed)
    with bar("shadows") as on_step:
        part = work(
            source.spec, source.train, source.validation, source.holdout, plan, range(shadows),
            device=device, on_step=on_step,
        )
    found = conclude([part], plan, spec=source.spec, dataset_sha256=sha256(data.read_bytes()).hexdigest())
    out.write_text(found.model_dump_json(indent=2) + "\n")
    screen.print(f"{out}: {found.statement}")


def planned(method: str, settings: tuple[str, ...], **numbers: float) -> RecipePlan:
    """The plan, in words that help where it is none."""
    try:
        return RecipePlan.model_validate({"method": chosen(method, settings), **numbers})
    except ValidationError as error:
        said = "; ".join(f"{'.'.join(map(str, fault['loc']))}: {fault['msg']}" for fault in error.errors())
        raise BadInput(f"this is no plan for shadows: {said}") from error
