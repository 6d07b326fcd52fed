"""Evidence in full: entries of every kind, corrections, erasure, suppression, anchors, what monitors found."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

KINDS = "'index', 'train', 'unlearn', 'audit', 'reference', 'recipe', 'shadows', 'canaries'"
APPEND_ONLY = ("entry_of_request", "ledger_anchored", "ledger_check")


def upgrade() -> None:
    _certificates()
    _entries()
    _erasure()
    for table in APPEND_ONLY:
        op.execute(f"CREATE TRIGGER no_change BEFORE UPDATE OR DELETE ON {table} FOR EACH ROW EXECUTE FUNCTION refuse_change()")
        op.execute(f"CREATE TRIGGER no_truncate BEFORE TRUNCATE ON {table} FOR EACH STATEMENT EXECUTE FUNCTION refuse_change()")
        op.execute(f"ALTER TABLE {table} ENABLE ALWAYS TRIGGER no_change")
        op.execute(f"ALTER TABLE {table} ENABLE ALWAYS TRIGGER no_truncate")


def _certificates() -> None:
    op.add_column("certificate", sa.Column("supersedes", sa.Uuid(), nullable=True))
    op.create_foreign_key(op.f("fk_certificate_supersedes"), "certificate", "certificate", ["supersedes"], ["id"])
    op.create_unique_constraint(op.f("uq_certificate_supersedes"), "certificate", ["supersedes"])
    op.drop_constraint(op.f("uq_certificate_request_id"), "certificate", type_="unique")
    op.create_index(op.f("ix_certificate_request_id"), "certificate", ["request_id"], unique=False)
    op.create_index(
        "ix_certificate_first_of_request",
        "certificate",
        ["request_id"],
        unique=True,
        postgresql_where=sa.text("supersedes IS NULL"),
    )


def _entries() -> None:
    for table in ("ledger_inbox", "ledger_leaf"):
        op.drop_constraint(op.f(f"fk_{table}_certificate_id"), table, type_="foreignkey")
        op.drop_constraint(op.f(f"uq_{table}_certificate_id"), table, type_="unique")
        op.alter_column(table, "certificate_id", new_column_name="entry_id")
        op.create_unique_constraint(op.f(f"uq_{table}_entry_id"), table, ["entry_id"])
        op.add_column(table, sa.Column("kind", sa.String(), nullable=False, server_default="certificate"))
        op.alter_column(table, "kind", server_default=None)
        # A sealed entry is base64: what compressing it saves is less than what it costs the sequencer and each replay.
        op.execute(f"ALTER TABLE {table} ALTER COLUMN envelope SET STORAGE EXTERNAL")
    op.create_index("ix_ledger_leaf_key", "ledger_leaf", ["idx"], postgresql_where=sa.text("kind = 'key'"))
    op.create_table(
        "entry_of_request",
        sa.Column("request_id", sa.Uuid(), nullable=False),
        sa.Column("entry_id", sa.Uuid(), nullable=False),
        sa.ForeignKeyConstraint(["request_id"], ["deletion_request.id"], name=op.f("fk_entry_of_request_request_id")),
        sa.PrimaryKeyConstraint("request_id", "entry_id", name=op.f("pk_entry_of_request")),
    )
    op.execute("INSERT INTO entry_of_request SELECT request_id, id FROM certificate")
    op.create_table(
        "ledger_anchored",
        sa.Column("anchor", sa.String(), nullable=False),
        sa.Column("size", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), server_default=sa.text("clock_timestamp()"), nullable=False),
        sa.PrimaryKeyConstraint("anchor", "size", name=op.f("pk_ledger_anchored")),
    )
    op.create_table(
        "ledger_check",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("size", sa.BigInteger(), nullable=False),
        sa.Column("ok", sa.Boolean(), nullable=False),
        sa.Column("fault", sa.String(), nullable=True),
        sa.Column("seconds", sa.Float(), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), server_default=sa.text("clock_timestamp()"), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_ledger_check")),
    )


def _erasure() -> None:
    op.add_column("job", sa.Column("not_before", sa.DateTime(timezone=True), nullable=True))
    op.drop_constraint(op.f("ck_job_kind"), "job", type_="check")
    op.create_check_constraint(op.f("ck_job_kind"), "job", f"kind IN ({KINDS}, 'erase')")
    op.add_column("model_version", sa.Column("erased_at", sa.DateTime(timezone=True), nullable=True))
    op.add_column("dataset", sa.Column("source_sha256", sa.String(), nullable=False, server_default=""))
    op.execute("UPDATE dataset SET source_sha256 = right(file_key, 64)")
    op.alter_column("dataset", "source_sha256", server_default=None)
    op.alter_column("sample", "sample_ref", nullable=True)
    op.execute("DELETE FROM idempotent_reply")      # hashes without a key, of bodies that name persons
    op.alter_column("idempotent_reply", "body_sha256", new_column_name="body_mac")
    op.add_column("forget_row", sa.Column("commitment", sa.LargeBinary(), nullable=False, server_default=""))
    op.alter_column("forget_row", "commitment", server_default=None)
    op.create_table(
        "purge",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("job_id", sa.Uuid(), nullable=False),
        sa.Column("kind", sa.String(), nullable=False),
        sa.Column("store_key", sa.String(), nullable=False),
        sa.Column("outcome", sa.String(), nullable=True),
        sa.Column(
            "created_at", sa.DateTime(timezone=True), server_default=sa.text("clock_timestamp()"), nullable=False
        ),
        sa.Column("done_at", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint("outcome IN ('erased', 'shared', 'absent')", name=op.f("ck_purge_outcome")),
        sa.ForeignKeyConstraint(["job_id"], ["job.id"], name=op.f("fk_purge_job_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_purge")),
    )
    op.create_index("ix_purge_open", "purge", ["job_id"], unique=False, postgresql_where=sa.text("outcome IS NULL"))
    op.create_table(
        "suppressed",
        sa.Column("ref", sa.LargeBinary(), nullable=False),
        sa.Column("request_id", sa.Uuid(), nullable=True),
        sa.Column(
            "created_at", sa.DateTime(timezone=True), server_default=sa.text("clock_timestamp()"), nullable=False
        ),
        sa.ForeignKeyConstraint(["request_id"], ["deletion_request.id"], name=op.f("fk_suppressed_request_id")),
        sa.PrimaryKeyConstraint("ref", name=op.f("pk_suppressed")),
    )


def downgrade() -> None:
    """Only while nothing was erased and the ledger holds nothing but certificates; else a constraint refuses."""
    op.drop_table("suppressed")
    op.drop_index("ix_purge_open", table_name="purge", postgresql_where=sa.text("outcome IS NULL"))
    op.drop_table("purge")
    op.drop_column("forget_row", "commitment")
    op.alter_column("idempotent_reply", "body_mac", new_column_name="body_sha256")
    op.alter_column("sample", "sample_ref", nullable=False)
    op.drop_column("dataset", "source_sha256")
    op.drop_column("model_version", "erased_at")
    op.drop_constraint(op.f("ck_job_kind"), "job", type_="check")
    op.create_check_constraint(op.f("ck_job_kind"), "job", f"kind IN ({KINDS})")
    op.drop_column("job", "not_before")
    for table in APPEND_ONLY:
        op.execute(f"DROP TRIGGER no_change ON {table}")
        op.execute(f"DROP TRIGGER no_truncate ON {table}")
        op.drop_table(table)
    op.drop_index("ix_ledger_leaf_key", table_name="ledger_leaf", postgresql_where=sa.text("kind = 'key'"))
    for table in ("ledger_leaf", "ledger_inbox"):
        op.execute(f"ALTER TABLE {table} ALTER COLUMN envelope SET STORAGE EXTENDED")
        op.drop_column(table, "kind")
        op.drop_constraint(op.f(f"uq_{table}_entry_id"), table, type_="unique")
        op.alter_column(table, "entry_id", new_column_name="certificate_id")
        op.create_unique_constraint(op.f(f"uq_{table}_certificate_id"), table, ["certificate_id"])
        op.create_foreign_key(
            op.f(f"fk_{table}_certificate_id"), table, "certificate", ["certificate_id"], ["id"]
        )
    op.drop_index(
        "ix_certificate_first_of_request", table_name="certificate", postgresql_where=sa.text("supersedes IS NULL")
    )
    op.drop_index(op.f("ix_certificate_request_id"), table_name="certificate")
    op.create_unique_constraint(op.f("uq_certificate_request_id"), "certificate", ["request_id"])
    op.drop_constraint(op.f("uq_certificate_supersedes"), "certificate", type_="unique")
    op.drop_constraint(op.f("fk_certificate_supersedes"), "certificate", type_="foreignkey")
    op.drop_column("certificate", "supersedes")
