"""Certificates and the ledger: an inbox for issuers, and the append-only tree that one sequencer writes."""

from uuid import UUID

from sqlalchemy import ARRAY, BigInteger, CheckConstraint, ForeignKey, LargeBinary, SmallInteger, Text
from sqlalchemy.orm import Mapped, mapped_column

from service.db.tables.base import Base, CreatedAt, Id, Serial


class Certificate(Base):
    """A signed envelope, byte for byte as it was signed."""

    __tablename__ = "certificate"

    id: Mapped[Id]
    request_id: Mapped[UUID] = mapped_column(ForeignKey("deletion_request.id"), unique=True)
    envelope: Mapped[bytes]
    issued_at: Mapped[CreatedAt]


class LedgerInbox(Base):
    """Entries that wait for the sequencer; issuers never wait for the tree."""

    __tablename__ = "ledger_inbox"

    id: Mapped[Serial]
    certificate_id: Mapped[UUID] = mapped_column(ForeignKey("certificate.id"), unique=True)
    envelope: Mapped[bytes]
    created_at: Mapped[CreatedAt]


class LedgerLeaf(Base):
    """Entry `idx` of the ledger: the leaf hash covers exactly these envelope bytes."""

    __tablename__ = "ledger_leaf"

    idx: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    leaf_hash: Mapped[bytes]
    certificate_id: Mapped[UUID] = mapped_column(ForeignKey("certificate.id"), unique=True)
    envelope: Mapped[bytes]
    sequenced_at: Mapped[CreatedAt]


class LedgerNode(Base):
    """The root of a complete subtree: leaves [idx·2^level, (idx + 1)·2^level), level 0 included."""

    __tablename__ = "ledger_node"

    level: Mapped[int] = mapped_column(SmallInteger, primary_key=True, autoincrement=False)
    idx: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    hash: Mapped[bytes]


class LedgerHead(Base):
    """The one row that the sequencer locks: how large the tree is, and the subtrees it falls into."""

    __tablename__ = "ledger_head"
    __table_args__ = (CheckConstraint("id = 1", name="one_row"),)

    id: Mapped[int] = mapped_column(SmallInteger, primary_key=True, autoincrement=False)
    size: Mapped[int] = mapped_column(BigInteger)
    frontier: Mapped[list[bytes]] = mapped_column(ARRAY(LargeBinary))


class LedgerCheckpoint(Base):
    """A signed tree head; two of one size cannot exist."""

    __tablename__ = "ledger_checkpoint"

    size: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    root: Mapped[bytes]
    note: Mapped[str] = mapped_column(Text)
    published_at: Mapped[CreatedAt]
