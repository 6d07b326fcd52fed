"""Models: registered with their recipe; version 1 is trained by a job, or comes as safetensors."""

import json
from collections.abc import AsyncGenerator
from datetime import datetime
from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Depends, File, Form, Path, Request, Response, UploadFile
from fastapi.exceptions import RequestValidationError
from fastapi.responses import StreamingResponse
from pydantic import BaseModel, Field, ValidationError
from sqlalchemy.orm import Session
from starlette.datastructures import UploadFile as Part

from service.api.deps import Context, Ctx, Tx
from service.api.jobs import JobView
from service.api.uploads import local_file
from service.db import datasets, jobs, models
from service.db.session import transaction
from service.db.tables import Dataset, Model, ModelVersion
from service.domain.architectures import refuse_stranger, tensors
from service.domain.policy import Policy
from service.domain.recipes import Family, Python, Spec, Training
from service.domain.values import Name, Value
from service.errors import BadInput, Conflict, Fault
from service.inspection.weights import inspect_weights

router = APIRouter(prefix="/models", tags=["models"])
Number = Annotated[int, Path(ge=1, lt=2**31)]


class NewModel(Value):
    """A model to be registered. Without weights a job trains version 1."""

    name: Name
    dataset: Name
    family: Family
    training: Training = Training()
    policy: Policy = Policy()
    weights_key: Annotated[str | None, Field(description="Key of safetensors weights that are in the store.")] = None


class VersionView(BaseModel):
    number: int
    status: Annotated[str, Field(description="active; superseded; inactive: made elsewhere, to be audited.")]
    origin: str
    weights_key: str
    created_at: datetime
    erased_at: Annotated[datetime | None, Field(description="When its weights were erased, for what they remembered.")]
    links: dict[str, str]

    @classmethod
    def of(cls, name: str, version: ModelVersion) -> "VersionView":
        links = {"weights": f"/models/{name}/versions/{version.number}/weights"}
        return cls(
            number=version.number, status=version.status, origin=version.origin, weights_key=version.weights_key,
            created_at=version.created_at, erased_at=version.erased_at, links=links,
        )


class ModelView(BaseModel):
    """A model, its recipe, its policy, and the number of the version in use."""

    id: UUID
    name: str
    dataset: str
    spec: dict[str, Any]
    policy: dict[str, Any]
    active_version: int | None
    created_at: datetime
    job: JobView | None = None

    @classmethod
    def of(cls, tx: Session, model: Model) -> "ModelView":
        dataset = datasets.by_id(tx, model.dataset_id).name
        return cls(
            id=model.id, name=model.name, dataset=dataset, spec=model.spec, policy=model.policy,
            active_version=models.active_number(tx, model.id), created_at=model.created_at,
        )


class ModelList(BaseModel):
    items: list[ModelView]


async def _parse(request: Request) -> AsyncGenerator[tuple[NewModel, Part | None]]:
    """The JSON body, or the form's `model` part (JSON) with its `weights` part (a file, closed after the route)."""
    if not request.headers.get("content-type", "").startswith("multipart/form-data"):
        yield _validated(await request.body()), None
        return
    async with request.form() as form:
        raw, weights = form.get("model"), form.get("weights")
        if not isinstance(raw, str) or not isinstance(weights, Part | None):
            detail = "the form needs a part `model` with JSON, and `weights` must be a file"
            raise BadInput(f"In the request, {detail}", faults=[Fault("/model", detail)])
        yield _validated(raw), weights


def _validated(raw: str | bytes) -> NewModel:
    try:
        return NewModel.model_validate_json(raw)
    except ValidationError as error:
        faults = error.errors(include_input=False, include_url=False)
        raise RequestValidationError(faults, body=_read(raw)) from None


def _read(raw: str | bytes) -> Any:
    """The document that pointers lead into; none if it is not JSON."""
    try:
        return json.loads(raw)
    except (ValueError, RecursionError):
        return None


_FORM = {
    "type": "object",
    "required": ["model"],
    "properties": {"model": {"type": "string"}, "weights": {"type": "string", "format": "binary"}},
}
_BODY = {"requestBody": {"required": True, "content": {
    "application/json": {"schema": {"$ref": f"#/components/schemas/{NewModel.__name__}"}},
    "multipart/form-data": {"schema": _FORM},
}}}


@router.post("", status_code=202, openapi_extra=_BODY)
def add_model(
    ctx: Ctx, response: Response, parsed: Annotated[tuple[NewModel, Part | None], Depends(_parse)]
) -> ModelView:
    """Register a model; train version 1, or take the weights that were sent."""
    body, upload = parsed
    if upload is not None and body.weights_key is not None:
        faults = [Fault("/weights_key", "weights were sent too")]
        raise BadInput("Send the weights or their key, not both", faults=faults)
    refuse_stranger(body.family, ctx.settings.packages)
    with transaction(ctx.engine) as tx:
        models.refuse_taken(tx, body.name)
        dataset = datasets.get(tx, body.dataset)
    spec = _spec(body, dataset)
    weights_key = None
    if upload is not None or body.weights_key is not None:
        weights_key = _checked_weights(ctx, spec, upload, body.weights_key)
    elif not isinstance(spec.family, Python):
        tensors(spec)       # refuses a family that cannot read this input
    with transaction(ctx.engine) as tx:
        view = _register(tx, ctx, body, dataset, spec, weights_key)
    response.headers["Location"] = f"/models/{body.name}"
    return view


def _spec(body: NewModel, dataset: Dataset) -> Spec:
    if dataset.status == "failed":
        raise Conflict("The data set could not be indexed")
    parts = {"family": body.family, "training": body.training}
    return Spec.model_validate(parts | {"input": dataset.facts["input"], "classes": dataset.facts["classes"]})


def _checked_weights(ctx: Context, spec: Spec, upload: Part | None, key: str | None) -> str:
    foreign = isinstance(spec.family, Python)       # only the worker can know the tensors of a factory's module
    expected = None if foreign else tensors(spec)
    with local_file(ctx.store, upload, key) as path:
        inspect_weights(path, expected)
        return key or ctx.store.put(path)


def _register(
    tx: Session, ctx: Context, body: NewModel, dataset: Dataset, spec: Spec, weights_key: str | None
) -> ModelView:
    model = models.add(tx, name=body.name, dataset_id=dataset.id, spec=spec, policy=body.policy)
    if weights_key is not None:
        models.publish(tx, model.id, origin="uploaded", weights_key=weights_key, job_id=None)
        return ModelView.of(tx, model)
    job = jobs.add(
        tx, "train", dataset_id=dataset.id, model_id=model.id, max_attempts=ctx.settings.max_attempts,
        after_id=jobs.of_dataset(tx, dataset.id),
    )
    return ModelView.of(tx, model).model_copy(update={"job": JobView.of(job)})


_WEIGHTS: dict[int | str, dict[str, Any]] = {200: {"content": {"application/octet-stream": {}}}}


@router.get("")
def list_models(tx: Tx) -> ModelList:
    """All models, by name."""
    return ModelList(items=[ModelView.of(tx, model) for model in models.listing(tx)])


@router.get("/{name}")
def get_model(name: Name, tx: Tx) -> ModelView:
    """One model."""
    return ModelView.of(tx, models.get(tx, name))


@router.get("/{name}/versions")
def list_versions(name: Name, tx: Tx) -> list[VersionView]:
    """All versions of a model, oldest first."""
    model = models.get(tx, name)
    return [VersionView.of(name, version) for version in models.versions(tx, model.id)]


@router.post("/{name}/versions", status_code=201)
def add_version(
    name: Name,
    ctx: Ctx,
    response: Response,
    weights: Annotated[UploadFile | None, File(description="Safetensors.")] = None,
    key: Annotated[str | None, Form(description="Or the key of some that are in the store already.")] = None,
) -> VersionView:
    """Add weights that were made elsewhere, to be audited; the active version stays in use."""
    if (weights is None) == (key is None):
        detail = "one of weights and key is needed"
        raise BadInput("Send exactly one of `weights` and `key`", faults=[Fault("/weights", detail)])
    with transaction(ctx.engine) as tx:
        model = models.get(tx, name)
        models.active(tx, model.id)
    found = _checked_weights(ctx, Spec.model_validate(model.spec), weights, key)
    with transaction(ctx.engine) as tx:
        version = models.attach(tx, model.id, weights_key=found)
    response.headers["Location"] = f"/models/{name}/versions"
    return VersionView.of(name, version)


@router.get("/{name}/versions/{number}/weights", response_class=StreamingResponse, responses=_WEIGHTS)
def download_weights(name: Name, number: Number, tx: Tx, ctx: Ctx) -> StreamingResponse:
    """The weights of one version, as safetensors."""
    version = models.version(tx, models.get(tx, name).id, number)
    models.refuse_erased(version)
    return StreamingResponse(
        ctx.store.open(version.weights_key),
        media_type="application/octet-stream",
        headers={"Content-Disposition": f'attachment; filename="{name}-v{number}.safetensors"'},
    )


@router.put("/{name}/policy")
def set_policy(name: Name, body: Policy, tx: Tx) -> Policy:
    """Replace the policy; jobs that have started keep the one they started with."""
    models.set_policy(tx, models.get(tx, name), body)
    return body
