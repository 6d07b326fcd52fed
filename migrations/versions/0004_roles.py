"""Three roles: one owns the tables, one is the application's, one writes the ledger's tree.

Roles belong to the cluster, tables to a database: roles are made where they are missing and never dropped, since other
databases may use them. A table of a later migration is an ordinary one unless that migration says otherwise.
"""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

OWNER, APP, SEQUENCER = "expunge_owner", "expunge_app", "expunge_sequencer"
ORDINARY = (
    "dataset", "sample", "canary", "model", "model_version", "reference_model", "job", "outbox", "audit", "recipe_audit",
    "deletion_request", "forget_row", "commitment_salt", "request_event", "idempotent_reply", "purge", "suppressed",
)
SAID_ONCE = ("certificate", "entry_of_request", "ledger_check")
TREE = ("ledger_leaf", "ledger_node", "ledger_checkpoint", "ledger_anchored")
OTHERS = ("ledger_inbox", "ledger_head", "alembic_version")
EVERYTHING = "SELECT, INSERT, UPDATE, DELETE"
CREATE = """
DO $$ BEGIN
    BEGIN
        IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = '{role}') THEN
            CREATE ROLE {role} NOLOGIN;
        END IF;
    EXCEPTION WHEN duplicate_object OR unique_violation THEN    -- another database of the cluster was migrated just now
    END;
    IF NOT pg_has_role('{role}', 'USAGE') THEN                  -- a superuser is everybody
        GRANT {role} TO CURRENT_USER;
    END IF;
END $$
"""


def upgrade() -> None:
    for role in (OWNER, APP, SEQUENCER):
        op.execute(CREATE.format(role=role))
    op.execute("REVOKE CREATE ON SCHEMA public FROM PUBLIC")
    op.execute(f"GRANT USAGE, CREATE ON SCHEMA public TO {OWNER}")
    op.execute(f"GRANT USAGE ON SCHEMA public TO {APP}, {SEQUENCER}")
    op.execute("ALTER FUNCTION refuse_change() SET search_path = pg_catalog, pg_temp")
    op.execute("REVOKE EXECUTE ON FUNCTION refuse_change() FROM PUBLIC")
    _give_all_to(OWNER)
    op.execute(f"SET LOCAL ROLE {OWNER}")       # later migrations of this transaction too
    op.execute(f"ALTER DEFAULT PRIVILEGES IN SCHEMA public GRANT {EVERYTHING} ON TABLES TO {APP}")
    _grant()


def _give_all_to(role: str) -> None:
    for table in (*ORDINARY, *SAID_ONCE, *TREE, *OTHERS):
        op.execute(f"ALTER TABLE {table} OWNER TO {role}")
    op.execute(f"ALTER FUNCTION refuse_change() OWNER TO {role}")


def _grant() -> None:
    op.execute(f"GRANT {EVERYTHING} ON {', '.join(ORDINARY)} TO {APP}")
    op.execute(f"GRANT SELECT, INSERT ON {', '.join(SAID_ONCE)}, ledger_inbox TO {APP}")
    op.execute(f"GRANT SELECT ON {', '.join(TREE)}, ledger_head, alembic_version TO {APP}")
    op.execute(f"GRANT SELECT, INSERT ON {', '.join(TREE)} TO {SEQUENCER}")
    op.execute(f"GRANT SELECT, INSERT, UPDATE ON ledger_head TO {SEQUENCER}")
    op.execute(f"GRANT SELECT, DELETE ON ledger_inbox TO {SEQUENCER}")


def downgrade() -> None:
    op.execute(f"SET LOCAL ROLE {OWNER}")
    op.execute(f"ALTER DEFAULT PRIVILEGES IN SCHEMA public REVOKE ALL ON TABLES FROM {APP}")
    op.execute(f"REVOKE ALL ON ALL TABLES IN SCHEMA public FROM {APP}, {SEQUENCER}")
    op.execute("SET LOCAL ROLE NONE")
    _give_all_to(op.get_bind().scalar(sa.text("SELECT quote_ident(session_user)")))
    op.execute("GRANT EXECUTE ON FUNCTION refuse_change() TO PUBLIC")
    op.execute("ALTER FUNCTION refuse_change() RESET search_path")
    op.execute(f"REVOKE ALL ON SCHEMA public FROM {OWNER}, {APP}, {SEQUENCER}")
