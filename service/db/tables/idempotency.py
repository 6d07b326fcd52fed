"""Answers already given, so that a repeated POST gets the same one."""

from typing import Any

from sqlalchemy.orm import Mapped, mapped_column

from service.db.tables.base import Base, CreatedAt


class IdempotentReply(Base):
    __tablename__ = "idempotent_reply"

    principal: Mapped[str] = mapped_column(primary_key=True)
    route: Mapped[str] = mapped_column(primary_key=True)
    key: Mapped[str] = mapped_column(primary_key=True)
    body_mac: Mapped[bytes]                     # keyed: a body names persons, and a bare hash of it could be guessed
    location: Mapped[str | None]
    body: Mapped[dict[str, Any]]
    created_at: Mapped[CreatedAt]
