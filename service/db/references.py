"""Queries on retrained models, kept so that audits of the same rows and recipe share them."""

from collections.abc import Collection, Sequence
from datetime import datetime
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from service.db.arrays import among
from service.db.tables import ReferenceModel


def find(tx: Session, keys: Sequence[bytes]) -> dict[bytes, ReferenceModel]:
    """Those of the models that are there."""
    return {model.key: model for model in tx.scalars(select(ReferenceModel).where(among(ReferenceModel.key, keys)))}


def keep(tx: Session, key: bytes, *, dataset_id: UUID, weights_key: str, seconds: float) -> None:
    """Whoever trained the same model first has kept it; then nothing changes."""
    made = insert(ReferenceModel).values(key=key, dataset_id=dataset_id, weights_key=weights_key, seconds=seconds)
    tx.execute(made.on_conflict_do_nothing())


def strangers(tx: Session, dataset_id: UUID, *, keep: Collection[str], before: datetime) -> Sequence[ReferenceModel]:
    """Those of a data set that were made before a time, less some known by their keys in hex: what did they learn?"""
    known = [bytes.fromhex(key) for key in keep]
    of_dataset = (ReferenceModel.dataset_id == dataset_id) & (ReferenceModel.created_at < before)
    return tx.scalars(select(ReferenceModel).where(of_dataset, ~among(ReferenceModel.key, known))).all()
