"""`expunge-worker audit`: two models on local files, whoever unlearned the second; for people and for pipelines."""

import hashlib
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Final, Literal

from cyclopts import Parameter, validators
from cyclopts.types import ExistingFile
from pydantic import ValidationError
from torch import nn

from service.domain.policy import AuditPlan
from service.domain.report import AuditReport
from service.errors import BadInput
from worker import checkpoint, report
from worker.auditing import AuditSets, audit
from worker.commands import bar, opened, screen
from worker.data import Split
from worker.lineage import Lineage
from worker.sources import Kind, Source, asked_for
from worker.training import train

WRITERS: Final[dict[str, Callable[[AuditReport], bytes]]] = {
    ".json": report.to_json, ".html": report.to_html, ".pdf": report.to_pdf
}
FIRST: Final = 1_000     # seeds of the references begin behind it: one of them must not be the audited model's
Failure = Literal["leak", "inconclusive"]
ENDS: Final[dict[str, tuple[Failure, int]]] = {"LEAK_DETECTED": ("leak", 3), "INCONCLUSIVE": ("inconclusive", 4)}


def audit_(
    *,
    before: ExistingFile,
    after: ExistingFile,
    data: ExistingFile,
    model: ExistingFile,
    forget: ExistingFile,
    out: Annotated[tuple[Path, ...], Parameter(negative=())],
    kind: Kind = "subjects",
    reference: Annotated[tuple[ExistingFile, ...], Parameter(negative=())] = (),
    train_references: Annotated[int, Parameter(validator=validators.Number(gte=0, lte=64))] = 0,
    plan: ExistingFile | None = None,
    fail_on: Annotated[tuple[Failure, ...], Parameter(negative=())] = (),
    device: str = "cpu",
) -> None:
    """Attack a model before and after, and write the report. Ends with 0 whatever the verdict, but for --fail-on.

    Args:
        before: weights that know the rows, as safetensors.
        after: weights that shall not, wherever they were made.
        data: Parquet file with the rows.
        model: JSON file that describes the model.
        forget: text file, one id per line.
        out: .json, .html or .pdf file to write, as often as needed.
        kind: what the ids are of.
        reference: weights of a model trained without the rows, as often as needed.
        train_references: how many such models to train here, beside those that are named.
        plan: JSON file with the plan of the audit; the one in the model's description unless given. Its number of
            references becomes that of the models at hand.
        fail_on: end with 3 on a leak, with 4 on an inconclusive audit.
        device: torch device.
    """
    unknown = [path.name for path in out if path.suffix not in WRITERS]
    if unknown:
        raise BadInput(f"a report is a file that ends in .json, .html or .pdf, and this is none: {', '.join(unknown)}")
    source = opened(data, model)
    chosen = planned(plan, source, len(reference) + train_references)
    split = source.split(asked_for(data, forget, kind))
    models = [checkpoint.load(source.spec, path).to(device) for path in (before, after, *reference)]
    models += trained(source, split, train_references, device)
    made = audited(source, split, chosen, models, Lineage(dataset_sha256=digest(data)))
    for path in out:
        path.write_bytes(WRITERS[path.suffix](made))
    screen.print(f"{', '.join(map(str, out))}: {made.verdict.value} – {made.verdict.statement}", highlight=False)
    ended, code = ENDS.get(made.verdict.value, (None, 0))
    if ended in fail_on:
        sys.exit(code)


def planned(path: Path | None, source: Source, references: int) -> AuditPlan:
    """The plan for as many references as there are.

    Raises:
        BadInput: the file is no plan, or a rung of it needs more references.
    """
    told = source.policy.audit if path is None else written(path)
    try:
        return AuditPlan.model_validate(told.model_dump() | {"references": references})
    except ValidationError as error:
        raise BadInput(
            f"{faults(error)}, and there are {references}: name more with --reference, or have some trained with "
            "--train-references"
        ) from error


def written(path: Path) -> AuditPlan:
    """A plan from its file."""
    try:
        return AuditPlan.model_validate_json(path.read_bytes())
    except ValidationError as error:
        raise BadInput(f"the file is no plan of an audit: {faults(error)}") from error


def faults(error: ValidationError) -> str:
    """What is wrong, and where."""
    return "; ".join(
        ".".join(map(str, fault["loc"])) + (": " if fault["loc"] else "") + fault["msg"].removeprefix("Value error, ")
        for fault in error.errors()
    )


def trained(source: Source, split: Split, references: int, device: str) -> list[nn.Module]:
    """Models that never saw the rows, each from its own seed, none of them one that a person would choose."""
    models: list[nn.Module] = []
    for k in range(1, references + 1):
        with bar(f"training reference {k}") as on_step:
            spec = source.spec.seeded(source.spec.training.seed + FIRST + k)
            models.append(train(spec, split.retain, device=device, on_step=on_step))
    return models


def audited(
    source: Source, split: Split, plan: AuditPlan, models: list[nn.Module], lineage: Lineage
) -> AuditReport:
    """The audit; rows z of likelihood ratios are the validation rows."""
    before, after, *references = models
    sets = AuditSets(split.forget, source.holdout, split.retain, population=split.validation)
    with bar("auditing") as on_step:
        return audit(
            before, after, sets, plan, references=references, spec=source.spec, lineage=lineage, on_step=on_step
        )


def digest(path: Path) -> str:
    """SHA-256 of a file, in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
