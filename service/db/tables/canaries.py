"""Planted rows: what an auditor's coin said of each. Whoever reads this table knows the answer to the audit."""

from uuid import UUID

from sqlalchemy import ForeignKey, Index
from sqlalchemy.orm import Mapped, mapped_column

from service.db.tables.base import Base


class Canary(Base):
    """One planted row; its sample carries the label, and the split that the coin has chosen."""

    __tablename__ = "canary"
    __table_args__ = (Index(None, "dataset_id", "base_row"),)

    dataset_id: Mapped[UUID] = mapped_column(ForeignKey("dataset.id"), primary_key=True)
    row: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    number: Mapped[int]         # that its sample id is made of
    base_row: Mapped[int]       # whose inputs it repeats: who forgets these has to forget the canary too
    included: Mapped[bool]
