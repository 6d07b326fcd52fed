"""Data sets: a Parquet file is inspected at once and indexed by a job."""

from datetime import datetime
from typing import Annotated, Any

from fastapi import APIRouter, File, Form, Response, UploadFile
from pydantic import BaseModel, Field

from service import suppression
from service.api.deps import Ctx, Tx
from service.api.jobs import JobView
from service.api.uploads import local_file
from service.db import datasets, jobs
from service.db.session import transaction
from service.db.tables import Dataset
from service.domain.values import Name
from service.errors import BadInput, Fault
from service.inspection.parquet import inspect_parquet, parse_options

router = APIRouter(prefix="/datasets", tags=["datasets"])


class DatasetView(BaseModel):
    """A data set and what was found in it."""

    name: str
    status: str
    facts: dict[str, Any]
    erased: Annotated[int, Field(description="Rows that deletion requests have taken out for good.")]
    created_at: datetime
    job: JobView | None = None

    @classmethod
    def of(cls, dataset: Dataset) -> "DatasetView":
        return cls(
            name=dataset.name, status=dataset.status, facts=dataset.facts,
            erased=dataset.facts["splits"].get("erased", 0), created_at=dataset.created_at,
        )


@router.post("", status_code=202)
def add_dataset(
    ctx: Ctx,
    response: Response,
    name: Annotated[Name, Form(description="Unique; lower-case letters, digits, dot, dash, underscore.")],
    file: Annotated[UploadFile | None, File(description="A Parquet file.")] = None,
    key: Annotated[str | None, Form(description="Or the key of one that is in the store already.")] = None,
    split: Annotated[str | None, Form(description='A rule as JSON, {"validation": 0.1, "holdout": 0.2}.')] = None,
    classes: Annotated[int | None, Form(ge=2, le=100_000, description="Else the highest label + 1.")] = None,
    text: Annotated[
        str | None, Form(description='How texts are read, as JSON: {"length": 128, "vocabulary": 16384} by default.')
    ] = None,
) -> DatasetView:
    """Register a Parquet file; a job indexes it."""
    if (file is None) == (key is None):
        raise BadInput("Send exactly one of `file` and `key`", faults=[Fault("/file", "one of file and key is needed")])
    options = parse_options(split=split, classes=classes, text=text)
    with transaction(ctx.engine) as tx:
        datasets.refuse_taken(tx, name)
    with local_file(ctx.store, file, key) as path:      # no transaction is open while the file is read
        facts = inspect_parquet(path, options)
        suppression.refuse(ctx.engine, ctx.index_key, path)
        file_key = key or ctx.store.put(path)
    with transaction(ctx.engine) as tx:
        read, found = options.model_dump(mode="json"), facts.model_dump(mode="json")
        dataset = datasets.add(tx, name=name, file_key=file_key, options=read, facts=found)
        job = jobs.add(tx, "index", dataset_id=dataset.id, max_attempts=ctx.settings.max_attempts)
    response.headers["Location"] = f"/jobs/{job.id}"
    return DatasetView.of(dataset).model_copy(update={"job": JobView.of(job)})


@router.get("/{name}")
def get_dataset(name: Name, tx: Tx) -> DatasetView:
    """One data set: its state, its splits, its classes, its input shape."""
    return DatasetView.of(datasets.get(tx, name))
