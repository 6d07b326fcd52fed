"""Certificates and the ledger: an inbox for issuers, and the append-only tree that one sequencer writes."""

from uuid import UUID

from sqlalchemy import ARRAY, BigInteger, CheckConstraint, ForeignKey, Index, LargeBinary, SmallInteger, Text, text
from sqlalchemy.orm import Mapped, mapped_column

from service.db.tables.base import Base, CreatedAt, Id, Serial


class Certificate(Base):
    """A signed envelope, byte for byte as it was signed; a request has one that supersedes none."""

    __tablename__ = "certificate"
    __table_args__ = (
        Index(
            "ix_certificate_first_of_request", "request_id", unique=True, postgresql_where=text("supersedes IS NULL")
        ),
    )

    id: Mapped[Id]
    request_id: Mapped[UUID] = mapped_column(ForeignKey("deletion_request.id"), index=True)
    supersedes: Mapped[UUID | None] = mapped_column(ForeignKey("certificate.id"), unique=True)
    envelope: Mapped[bytes]
    issued_at: Mapped[CreatedAt]


class LedgerInbox(Base):
    """Entries that wait for the sequencer; issuers never wait for the tree."""

    __tablename__ = "ledger_inbox"

    id: Mapped[Serial]
    entry_id: Mapped[UUID] = mapped_column(unique=True)     # a certificate's own id, or a fresh one
    kind: Mapped[str]                                       # domain.entries.Kind
    envelope: Mapped[bytes]
    created_at: Mapped[CreatedAt]


class LedgerLeaf(Base):
    """Entry `idx` of the ledger: the leaf hash covers exactly these envelope bytes."""

    __tablename__ = "ledger_leaf"
    __table_args__ = (Index("ix_ledger_leaf_key", "idx", postgresql_where=text("kind = 'key'")),)

    idx: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    leaf_hash: Mapped[bytes]
    entry_id: Mapped[UUID] = mapped_column(unique=True)
    kind: Mapped[str]
    envelope: Mapped[bytes]
    sequenced_at: Mapped[CreatedAt]


class EntryOfRequest(Base):
    """Which entries speak of a request: its certificates, attempts, failures, erasures and corrections."""

    __tablename__ = "entry_of_request"

    request_id: Mapped[UUID] = mapped_column(ForeignKey("deletion_request.id"), primary_key=True)
    entry_id: Mapped[UUID] = mapped_column(primary_key=True)


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


class LedgerAnchored(Base):
    """A checkpoint that was written down outside; the anchor is named by a digest, for its URL may hold a secret."""

    __tablename__ = "ledger_anchored"

    anchor: Mapped[str] = mapped_column(primary_key=True)
    size: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    at: Mapped[CreatedAt]


class LedgerCheck(Base):
    """What a monitor found when it replayed the ledger."""

    __tablename__ = "ledger_check"

    id: Mapped[Serial]
    size: Mapped[int] = mapped_column(BigInteger)       # entries that were replayed
    ok: Mapped[bool]
    fault: Mapped[str | None]                           # the first difference
    seconds: Mapped[float]
    at: Mapped[CreatedAt]
