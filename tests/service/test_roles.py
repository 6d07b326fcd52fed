"""Who may do what in the database: every table's rights, and what stays written whoever asks."""

from pathlib import Path
from threading import Thread
from uuid import uuid4

import psycopg
import pytest
from psycopg.errors import InsufficientPrivilege, RestrictViolation
from sqlalchemy import Engine, text
from sqlalchemy.exc import DBAPIError, OperationalError

from service.db import ledger
from service.db.migrate import upgrade
from service.db.session import Role, connect, transaction
from service.db.tables import Base, LedgerAnchored, LedgerCheck
from service.errors import UnusableDatabase
from service.ledger import keys
from tests.service.ledger_fixture import issue_one, sequence_all

OWNER = "expunge_owner"
APP: Role = "expunge_app"
SEQUENCER: Role = "expunge_sequencer"
READ, ADD, CHANGE, REMOVE = "SELECT", "INSERT", "UPDATE", "DELETE"
# Every table that is not named here is an ordinary one, which the application may read and write.
RIGHTS = {
    "certificate": {APP: {READ, ADD}},
    "entry_of_request": {APP: {READ, ADD}},
    "ledger_check": {APP: {READ, ADD}},
    "ledger_inbox": {APP: {READ, ADD}, SEQUENCER: {READ, REMOVE}},
    "ledger_leaf": {APP: {READ}, SEQUENCER: {READ, ADD}},
    "ledger_node": {APP: {READ}, SEQUENCER: {READ, ADD}},
    "ledger_checkpoint": {APP: {READ}, SEQUENCER: {READ, ADD}},
    "ledger_anchored": {APP: {READ}, SEQUENCER: {READ, ADD}},
    "ledger_head": {APP: {READ}, SEQUENCER: {READ, ADD, CHANGE}},
    "alembic_version": {APP: {READ}},
}
ORDINARY = {APP: {READ, ADD, CHANGE, REMOVE}}
APPEND_ONLY = {
    "certificate": "id", "entry_of_request": "entry_id", "ledger_leaf": "idx", "ledger_node": "idx",
    "ledger_checkpoint": "size", "ledger_anchored": "size", "ledger_check": "size",
}  # fmt: skip
GRANTS = """
SELECT table_name, grantee, privilege_type FROM information_schema.role_table_grants
WHERE table_schema = 'public' AND grantee <> 'expunge_owner'
"""


def granted(engine: Engine) -> dict[str, dict[str, set[str]]]:
    found: dict[str, dict[str, set[str]]] = {}
    with engine.connect() as connection:
        for table, role, right in connection.execute(text(GRANTS)):
            found.setdefault(table, {}).setdefault(role, set()).add(right)
    return found


# ---- rights ---------------------------------------------------------------------------------------------------------


def test_every_table_gives_each_role_exactly_its_rights(engine: Engine) -> None:
    tables = [*Base.metadata.tables, "alembic_version"]

    assert granted(engine) == {table: RIGHTS.get(table, ORDINARY) for table in tables}


def test_all_that_the_migrations_make_belongs_to_the_owner(engine: Engine) -> None:
    with engine.connect() as connection:
        owners = connection.execute(text(
            "SELECT relowner::regrole::text FROM pg_class WHERE relnamespace = 'public'::regnamespace UNION "
            "SELECT proowner::regrole::text FROM pg_proc WHERE pronamespace = 'public'::regnamespace"
        )).scalars().all()  # fmt: skip

    assert owners == [OWNER]


def test_a_table_that_a_later_migration_makes_is_an_ordinary_one(engine: Engine) -> None:
    with engine.begin() as connection:
        connection.execute(text(f"SET LOCAL ROLE {OWNER}"))
        connection.execute(text("CREATE TABLE later (id int)"))

    assert granted(engine)["later"] == ORDINARY


def test_no_role_can_log_in_or_rise_above_its_rights(engine: Engine) -> None:
    with engine.connect() as connection:
        powers = connection.execute(text(
            "SELECT rolcanlogin, rolsuper, rolcreaterole, rolcreatedb, rolbypassrls, rolreplication "
            "FROM pg_roles WHERE rolname LIKE 'expunge%'"
        )).all()  # fmt: skip

    assert powers == [(False,) * 6] * 3


def test_the_guard_looks_up_nothing_where_others_may_write(engine: Engine) -> None:
    with engine.connect() as connection:
        (path,) = connection.scalars(text("SELECT proconfig FROM pg_proc WHERE proname = 'refuse_change'")).all()

    assert path == ["search_path=pg_catalog, pg_temp"]


@pytest.mark.parametrize("role", [APP, SEQUENCER])
@pytest.mark.parametrize("act", ["TABLE mine (id int)", "FUNCTION f() RETURNS int RETURN 1", "ROLE r", "SCHEMA s"])
def test_neither_application_nor_sequencer_makes_anything(database_url: str, role: Role, act: str) -> None:
    assert isinstance(refused(connect(database_url, role=role), f"CREATE {act}"), InsufficientPrivilege)


# ---- append-only ----------------------------------------------------------------------------------------------------


@pytest.fixture
def written(engine: Engine, keys_dir: Path) -> Engine:
    """A ledger that has a row in each of its tables."""
    deployment = keys.load(keys_dir)
    issue_one(engine, deployment)
    sequence_all(engine, deployment)
    with transaction(engine) as tx:
        tx.add(LedgerAnchored(anchor="a", size=1))
        tx.add(LedgerCheck(size=1, ok=True, seconds=0.1))
    return engine


def rewriting(table: str) -> tuple[str, ...]:
    key = APPEND_ONLY[table]
    return f"UPDATE {table} SET {key} = {key}", f"DELETE FROM {table}", f"TRUNCATE {table} CASCADE"     # noqa: S608


def lifting(table: str) -> tuple[str, ...]:
    """Acts after which the guard guards no more."""
    disable, drop, take = f"ALTER TABLE {table} DISABLE TRIGGER", f"DROP TABLE {table}", f"ALTER TABLE {table} OWNER TO"
    return f"{disable} ALL", f"{disable} no_change", drop, f"{take} {APP}", "DROP FUNCTION refuse_change CASCADE"


def refused(engine: Engine, *acts: str) -> BaseException | None:
    """The server's refusal of the last act; whatever was done is rolled back."""
    *before, last = acts
    with engine.connect() as connection:
        for act in before:
            connection.execute(text(act))
        with pytest.raises(DBAPIError) as caught:
            connection.execute(text(last))
    engine.dispose()
    return caught.value.orig


@pytest.mark.parametrize("table", APPEND_ONLY)
@pytest.mark.parametrize("role", [APP, SEQUENCER])
def test_application_and_sequencer_have_no_right_to_rewrite_the_ledger(
    written: Engine, database_url: str, role: Role, table: str
) -> None:
    acting = connect(database_url, role=role)
    acts = (*rewriting(table), *lifting(table), "SET session_replication_role = replica")

    refusals = [refused(acting, act) for act in acts]

    assert all(isinstance(each, InsufficientPrivilege) for each in refusals)


@pytest.mark.parametrize("table", APPEND_ONLY)
@pytest.mark.parametrize(
    "as_whom", [[f"SET ROLE {OWNER}"], [], ["SET session_replication_role = replica"]], ids=["owner", "root", "replica"]
)
def test_the_guard_refuses_the_owner_and_the_superuser_too(written: Engine, as_whom, table) -> None:
    refusals = [refused(written, *as_whom, act) for act in rewriting(table)]

    assert all(isinstance(each, RestrictViolation) for each in refusals)


def test_the_owner_may_not_silence_the_guard_for_his_session(written: Engine) -> None:
    refusal = refused(written, f"SET ROLE {OWNER}", "SET session_replication_role = replica")

    assert isinstance(refusal, InsufficientPrivilege)


@pytest.mark.parametrize("table", APPEND_ONLY)
@pytest.mark.parametrize("role", [OWNER, "NONE"])
def test_who_owns_the_tables_can_take_the_guard_away(written: Engine, role: str, table: str) -> None:
    """And nothing in the database would tell: the proof is a checkpoint that was kept elsewhere."""
    with written.connect() as connection:
        connection.execute(text(f"SET ROLE {role}"))
        connection.execute(text(f"ALTER TABLE {table} DISABLE TRIGGER no_change"))
        rewritten = connection.execute(text(rewriting(table)[0]))
        connection.execute(text(f"DROP TABLE {table} CASCADE"))
        connection.rollback()

    assert rewritten.rowcount > 0


def test_the_application_issues_and_only_the_sequencer_grows_the_tree(database_url: str, keys_dir: Path) -> None:
    app, sequencer = connect(database_url, role=APP), connect(database_url, role=SEQUENCER)
    deployment = keys.load(keys_dir)
    with transaction(app) as tx:
        ledger.enqueue(tx, uuid4(), b"{}", kind="salt", requests=[])

    with pytest.raises(DBAPIError) as caught:
        sequence_all(app, deployment)
    done = sequence_all(sequencer, deployment)

    assert isinstance(caught.value.orig, InsufficientPrivilege)
    assert done == 1
    app.dispose()
    sequencer.dispose()


# ---- clusters and logins --------------------------------------------------------------------------------------------


def login(url: str, name: str) -> str:
    return url.replace("//postgres:", f"//{name}:", 1)


def administrate(url: str, *statements: str) -> None:
    with psycopg.connect(url.replace("+psycopg", "", 1), autocommit=True) as admin:
        for statement in statements:
            admin.execute(statement.encode())


def waiting(url: str) -> int:
    """How many locks of the cluster somebody waits for."""
    with psycopg.connect(url.replace("+psycopg", "", 1)) as connection:
        return connection.execute("SELECT count(*) FROM pg_locks WHERE NOT granted").fetchall()[0][0]


def test_two_databases_of_a_cluster_may_be_migrated_at_the_same_moment(bare_url: str) -> None:
    other = connect(bare_url, pool_size=1)
    with psycopg.connect(bare_url.replace("+psycopg", "", 1)) as first:
        for role in (OWNER, APP, SEQUENCER):
            first.execute(f"CREATE ROLE {role} NOLOGIN".encode())       # seen by others when this one commits
        second = Thread(target=upgrade, args=[other])
        second.start()
        while not waiting(bare_url):
            assert second.is_alive()
        first.commit()
        second.join()

    assert granted(other)["certificate"] == RIGHTS["certificate"]
    other.dispose()


def test_a_login_without_superpowers_may_migrate_and_then_act_in_each_role(bare_url: str) -> None:
    administrate(bare_url, "CREATE ROLE mason LOGIN CREATEROLE", "ALTER DATABASE expunge OWNER TO mason")
    mason = login(bare_url, "mason")
    migrating = connect(mason, pool_size=1)

    upgrade(migrating)
    upgrade(migrating)

    for role in (APP, SEQUENCER):
        acting = connect(mason, role=role)
        with acting.connect() as connection:
            assert connection.scalar(text("SELECT current_user")) == role
        acting.dispose()
    migrating.dispose()


def test_a_login_that_lacks_a_right_is_told_so_in_a_sentence(bare_url: str) -> None:
    administrate(bare_url, "CREATE ROLE guest LOGIN")
    guest, root = connect(login(bare_url, "guest"), pool_size=1), connect(bare_url, pool_size=1)
    acting, early = connect(login(bare_url, "guest"), role=APP), connect(bare_url, role=APP)

    with pytest.raises(UnusableDatabase, match="The login may not migrate"):
        upgrade(guest)
    with pytest.raises(UnusableDatabase, match="cannot act as expunge_app"):
        early.connect()
    upgrade(root)
    with pytest.raises(UnusableDatabase, match="cannot act as expunge_app"):
        acting.connect()

    for engine in (guest, root, acting, early):
        engine.dispose()


def test_a_database_that_is_away_is_not_called_a_lack_of_rights() -> None:
    nowhere = connect("postgresql+psycopg://expunge_app@127.0.0.1:1/none", role=APP)

    with pytest.raises(OperationalError):
        nowhere.connect()
