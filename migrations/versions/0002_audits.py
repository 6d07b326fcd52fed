"""Audits: those that are asked for by themselves, retrained models, canaries, and audits of recipes."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "audit",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("model_id", sa.Uuid(), nullable=False),
        sa.Column("before_id", sa.Uuid(), nullable=False),
        sa.Column("version_id", sa.Uuid(), nullable=False),
        sa.Column("job_id", sa.Uuid(), nullable=False),
        sa.Column("target_kind", sa.String(), nullable=True),
        sa.Column("rows", sa.ARRAY(sa.Integer()), nullable=False),
        sa.Column("plan", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column(
            "created_at", sa.DateTime(timezone=True), server_default=sa.text("clock_timestamp()"), nullable=False
        ),
        sa.ForeignKeyConstraint(["before_id"], ["model_version.id"], name=op.f("fk_audit_before_id")),
        sa.ForeignKeyConstraint(["job_id"], ["job.id"], name=op.f("fk_audit_job_id")),
        sa.ForeignKeyConstraint(["model_id"], ["model.id"], name=op.f("fk_audit_model_id")),
        sa.ForeignKeyConstraint(["version_id"], ["model_version.id"], name=op.f("fk_audit_version_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_audit")),
    )
    op.create_index(op.f("ix_audit_created_at_id"), "audit", ["created_at", "id"], unique=False)
    op.create_table(
        "reference_model",
        sa.Column("key", sa.LargeBinary(), nullable=False),
        sa.Column("dataset_id", sa.Uuid(), nullable=False),
        sa.Column("weights_key", sa.String(), nullable=False),
        sa.Column("seconds", sa.Float(), nullable=False),
        sa.Column(
            "created_at", sa.DateTime(timezone=True), server_default=sa.text("clock_timestamp()"), nullable=False
        ),
        sa.ForeignKeyConstraint(["dataset_id"], ["dataset.id"], name=op.f("fk_reference_model_dataset_id")),
        sa.PrimaryKeyConstraint("key", name=op.f("pk_reference_model")),
    )
    op.create_table(
        "canary",
        sa.Column("dataset_id", sa.Uuid(), nullable=False),
        sa.Column("row", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("base_row", sa.Integer(), nullable=False),
        sa.Column("included", sa.Boolean(), nullable=False),
        sa.ForeignKeyConstraint(["dataset_id"], ["dataset.id"], name=op.f("fk_canary_dataset_id")),
        sa.PrimaryKeyConstraint("dataset_id", "row", name=op.f("pk_canary")),
    )
    op.create_index(op.f("ix_canary_dataset_id_base_row"), "canary", ["dataset_id", "base_row"], unique=False)
    op.create_table(
        "recipe_audit",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("model_id", sa.Uuid(), nullable=False),
        sa.Column("job_id", sa.Uuid(), nullable=False),
        sa.Column("plan", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("recipe_sha256", sa.String(), nullable=False),
        sa.Column("report_key", sa.String(), nullable=True),
        sa.Column(
            "created_at", sa.DateTime(timezone=True), server_default=sa.text("clock_timestamp()"), nullable=False
        ),
        sa.ForeignKeyConstraint(["job_id"], ["job.id"], name=op.f("fk_recipe_audit_job_id")),
        sa.ForeignKeyConstraint(["model_id"], ["model.id"], name=op.f("fk_recipe_audit_model_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_recipe_audit")),
    )
    op.create_index(op.f("ix_recipe_audit_job_id"), "recipe_audit", ["job_id"], unique=False)
    op.create_index(op.f("ix_recipe_audit_recipe_sha256"), "recipe_audit", ["recipe_sha256"], unique=False)


def downgrade() -> None:
    op.drop_index(op.f("ix_recipe_audit_recipe_sha256"), table_name="recipe_audit")
    op.drop_index(op.f("ix_recipe_audit_job_id"), table_name="recipe_audit")
    op.drop_table("recipe_audit")
    op.drop_index(op.f("ix_canary_dataset_id_base_row"), table_name="canary")
    op.drop_table("canary")
    op.drop_table("reference_model")
    op.drop_index(op.f("ix_audit_created_at_id"), table_name="audit")
    op.drop_table("audit")
