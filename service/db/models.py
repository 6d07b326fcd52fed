"""Queries on models and versions."""

from collections.abc import Sequence
from uuid import UUID

from sqlalchemy import func, select, update
from sqlalchemy.orm import Session

from service.db.session import flush_unless_taken
from service.db.tables import Job, Model, ModelVersion
from service.domain.policy import Policy
from service.domain.recipes import Spec
from service.errors import AlreadyExists, Gone, NotFound, NoVersion


def _taken(name: str) -> str:
    return f"There is a model named {name!r} already"


def refuse_taken(tx: Session, name: str) -> None:
    if tx.scalar(select(Model.id).where(Model.name == name)) is not None:
        raise AlreadyExists(_taken(name))


def add(tx: Session, *, name: str, dataset_id: UUID, spec: Spec, policy: Policy) -> Model:
    model = Model(
        name=name, dataset_id=dataset_id, spec=spec.model_dump(mode="json"), policy=policy.model_dump(mode="json")
    )
    tx.add(model)
    flush_unless_taken(tx, _taken(name))
    return model


def get(tx: Session, name: str) -> Model:
    model = tx.scalar(select(Model).where(Model.name == name))
    if model is None:
        raise NotFound("There is no model of this name")
    return model


def lock(tx: Session, name: str) -> Model:
    """The model, its row locked until the caller's transaction ends."""
    model = get(tx, name)
    tx.refresh(model, with_for_update=True)
    return model


def by_id(tx: Session, model_id: UUID) -> Model:
    return tx.get_one(Model, model_id)


def of_job(tx: Session, job: Job) -> Model:
    """The model that a job works on."""
    return tx.scalars(select(Model).where(Model.id == job.model_id)).one()


def listing(tx: Session) -> Sequence[Model]:
    return tx.scalars(select(Model).order_by(Model.name)).all()


def set_policy(tx: Session, model: Model, policy: Policy) -> None:
    model.policy = policy.model_dump(mode="json")
    tx.flush()


def active(tx: Session, model_id: UUID) -> ModelVersion:
    """The version in use.

    Raises:
        NoVersion: version 1 is still being trained, or its training failed.
    """
    version = tx.scalar(select(ModelVersion).where(ModelVersion.model_id == model_id, ModelVersion.status == "active"))
    if version is None:
        raise NoVersion("The model has no version yet")
    return version


def active_number(tx: Session, model_id: UUID) -> int | None:
    in_use = (ModelVersion.model_id == model_id) & (ModelVersion.status == "active")
    return tx.scalar(select(ModelVersion.number).where(in_use))


def versions(tx: Session, model_id: UUID) -> Sequence[ModelVersion]:
    return tx.scalars(select(ModelVersion).where(ModelVersion.model_id == model_id).order_by(ModelVersion.number)).all()


def version(tx: Session, model_id: UUID, number: int) -> ModelVersion:
    found = tx.scalar(select(ModelVersion).where(ModelVersion.model_id == model_id, ModelVersion.number == number))
    if found is None:
        raise NotFound("The model has no version of this number")
    return found


def version_by_id(tx: Session, version_id: UUID) -> ModelVersion:
    return tx.get_one(ModelVersion, version_id)


def predecessor(tx: Session, version: ModelVersion) -> ModelVersion | None:
    """The version that was in use before this one."""
    earlier = select(ModelVersion).where(
        ModelVersion.model_id == version.model_id, ModelVersion.number < version.number,
        ModelVersion.status != "inactive",
    )
    return tx.scalar(earlier.order_by(ModelVersion.number.desc()).limit(1))


def superseded(tx: Session, version: ModelVersion) -> Sequence[ModelVersion]:
    """All that came before this version, or was added to be audited before it, and is not erased."""
    older = select(ModelVersion).where(
        ModelVersion.model_id == version.model_id, ModelVersion.number < version.number,
        ModelVersion.status != "active", ModelVersion.erased_at.is_(None),
    )
    return tx.scalars(older.order_by(ModelVersion.number)).all()


def refuse_erased(version: ModelVersion) -> None:
    """Raises Gone when the weights of the version are no longer there."""
    if version.erased_at is not None:
        raise Gone(f"The weights of version {version.number} were erased, for they remember what was to be forgotten")


def made_by(tx: Session, job_id: UUID) -> ModelVersion:
    """The version that a job has published."""
    return tx.scalars(select(ModelVersion).where(ModelVersion.job_id == job_id)).one()


def version_number(tx: Session, version_id: UUID | None) -> int | None:
    return None if version_id is None else tx.get_one(ModelVersion, version_id).number


def publish(tx: Session, model_id: UUID, *, origin: str, weights_key: str, job_id: UUID | None) -> ModelVersion:
    """The new version is active and the old one superseded, in the caller's transaction."""
    number = _next_number(tx, model_id)
    tx.execute(
        update(ModelVersion)
        .where(ModelVersion.model_id == model_id, ModelVersion.status == "active")
        .values(status="superseded")
    )
    new = ModelVersion(model_id=model_id, number=number, origin=origin, weights_key=weights_key, job_id=job_id)
    tx.add(new)
    tx.flush()
    return new


def attach(tx: Session, model_id: UUID, *, weights_key: str) -> ModelVersion:
    """A version that was made elsewhere, to be audited; the active one stays active."""
    number = _next_number(tx, model_id)
    new = ModelVersion(
        model_id=model_id, number=number, status="inactive", origin="uploaded", weights_key=weights_key
    )
    tx.add(new)
    tx.flush()
    return new


def _next_number(tx: Session, model_id: UUID) -> int:
    """Nobody else can take it before the caller's transaction ends."""
    tx.execute(select(Model.id).where(Model.id == model_id).with_for_update())
    return (tx.scalar(select(func.max(ModelVersion.number)).where(ModelVersion.model_id == model_id)) or 0) + 1
