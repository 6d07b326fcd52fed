"""`expunge ledger monitor`: what it says, and to whom."""

import json
import subprocess
import sys
from pathlib import Path
from uuid import uuid4

import pytest

from service.ledger import keys
from tests.service.ledger_fixture import ORIGIN
from tests.service.logs import Watched, as_owner

pytestmark = pytest.mark.slow       # each starts the command a few times


@pytest.fixture
def watched(engine, keys_dir, tmp_path):
    return Watched(engine, keys.load(keys_dir), tmp_path)


@pytest.fixture
def run(watched, database_url, keys_dir, tmp_path):
    """`expunge ledger monitor`: exit code, output, complaints."""
    settings = {
        "EXPUNGE_HOME": str(tmp_path), "EXPUNGE_DATABASE_URL": database_url, "EXPUNGE_KEYS": str(keys_dir),
        "EXPUNGE_ORIGIN": ORIGIN, "EXPUNGE_ANCHORS": watched.folder.as_uri(),
    }

    def run(*arguments, **changed):
        argv = [Path(sys.executable).parent / "expunge", "ledger", "monitor", *map(str, arguments)]
        environment = {name: value for name, value in {**settings, **changed}.items() if value is not None}
        done = subprocess.run(argv, env=environment, capture_output=True, text=True, check=False)
        assert "Traceback" not in done.stderr
        return done.returncode, done.stdout, done.stderr

    return run


def test_the_command_says_what_it_found_by_its_exit_code_in_a_row_and_for_prometheus(watched, run, sql, tmp_path):
    watched.grow(5)
    well = run("--textfile", tmp_path / "expunge.prom", "--tiles", "--json")
    gauges = (tmp_path / "expunge.prom").read_text()
    as_owner(watched.engine, "UPDATE ledger_leaf SET envelope = 'forged' WHERE idx = 3")
    ill = run("--textfile", tmp_path / "expunge.prom")

    assert (well[0], ill[0]) == (0, 1)
    told = json.loads(well[1])
    assert told | {"seconds": 0} == {
        "ok": True, "size": 5, "checkpoints": 1, "notes": 2, "fault": None, "away": [], "seconds": 0
    }
    assert ill[1].startswith("DIFFERENCE: Entry 3 is not what was sequenced")
    assert "\nexpunge_ledger_consistency_ok 1\n" in gauges
    assert "\nexpunge_ledger_checked_size 5\n" in gauges
    assert "\nexpunge_ledger_consistency_ok 0\n" in (tmp_path / "expunge.prom").read_text()
    assert sql("SELECT size, ok, fault IS NULL FROM ledger_check ORDER BY id") == [(5, True, True), (5, False, False)]


def test_what_cannot_be_looked_at_is_told_apart_from_what_differs(watched, run, sql, tmp_path):
    watched.grow(5)
    (watched.folder / "checkpoints").rename(watched.folder / "elsewhere")
    missing = run()
    watched.folder.rename(tmp_path / "unmounted")

    no_anchor = run("--textfile", tmp_path / "expunge.prom")
    no_database = run(EXPUNGE_DATABASE_URL="postgresql+psycopg://nobody@127.0.0.1:1/nothing")

    assert missing[0] == 1
    assert no_anchor[0] == no_database[0] == 2
    assert "Could not look at the file anchor" in no_anchor[1]
    assert "The database could not be looked at" in no_database[2]
    assert not (tmp_path / "expunge.prom").exists()
    assert sql("SELECT ok FROM ledger_check") == [(False,)]


@pytest.mark.parametrize(
    ("arguments", "changed", "sentence"),
    [
        (["--key", "/nowhere"], {}, "does not exist"),
        (["--key", "/dev/zero"], {}, "does not exist"),
        (["--every", "0"], {}, "--every"),
        (["--every", "nan"], {}, "--every"),
        (["--textfile", "/nowhere/x.prom"], {}, "--textfile"),
        ([], {"EXPUNGE_ANCHORS": "ftp://secret"}, "Anchor 1"),
        ([], {"EXPUNGE_DATABASE_URL": None}, "EXPUNGE_DATABASE_URL is not set"),
    ],
)
def test_arguments_that_are_not_usable_are_told_apart_too(run, arguments, changed, sentence):
    code, _, complaint = run(*arguments, **changed)

    assert (code, sentence in complaint, "secret" in complaint) == (3, True, False)


def test_a_login_that_may_only_read_gets_its_answer(watched, run, database_url, sql):
    watched.grow(3)
    auditor = f"auditor_{uuid4().hex}"
    sql(f"CREATE ROLE {auditor} LOGIN")
    sql(f"GRANT SELECT ON ALL TABLES IN SCHEMA public TO {auditor}")

    code, answer, complaint = run(EXPUNGE_DATABASE_URL=database_url.replace("://postgres", f"://{auditor}"))
    sql(f"DROP OWNED BY {auditor}")
    sql(f"DROP ROLE {auditor}")

    assert (code, answer[:14]) == (0, "ok: 3 entries,")
    assert "could not be written down" in complaint
    assert sql("SELECT count(*) FROM ledger_check") == [(0,)]
