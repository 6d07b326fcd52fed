"""What holds the house up: who may import whom, migrations that match the tables, files that stay small."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from alembic import command
from alembic.script import ScriptDirectory
from sqlalchemy import Engine, inspect, text

from service.db.migrate import config
from service.db.revision import HEAD

ROOT = Path(__file__).parents[1]
BIN = Path(sys.executable).parent
LONGEST, LONGEST_TEST = 350, 450      # in lines; a test's table of cases may be longer
UNFINISHED = re.compile("|".join(("TO" + "DO", "FIX" + "ME", "X" + "XX", "Not" + "ImplementedError")))
OF_ONE_MACHINE = re.compile(r"(?<![\w.])/(?:home|Users|root|work)/\w|\b[A-Z]:\\Users")


def files(*endings: str) -> list[Path]:
    """What the repository holds, of these kinds."""
    listed = subprocess.run(
        ["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout.split("\0")
    found = [ROOT / name for name in listed if name and (not endings or name.endswith(endings))]
    return [path for path in found if path.is_file()]


# ---- imports --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("module", "forbidden"),
    [
        ("service.api.app", {"torch", "numpy", "scipy", "sklearn", "alembic", "celery", "pyarrow", "worker"}),
        ("service.cli", {"torch", "numpy", "alembic", "boto3", "fastapi", "celery", "worker"}),
        ("service.scheduler", {"torch", "numpy", "alembic", "fastapi", "pyarrow", "worker"}),
        ("service.inspection.parquet", {"torch", "sqlalchemy", "fastapi", "worker"}),
        ("service.ledger.verify", {"torch", "sqlalchemy", "fastapi", "pydantic", "securesystemslib", "worker"}),
    ],
)
def test_importing_a_process_does_not_import_what_it_has_no_use_for(module, forbidden):
    program = f"import sys, {module}; print(*{{name.partition('.')[0] for name in sys.modules}})"
    env = {**os.environ, "EXPUNGE_BROKER_URL": "redis://127.0.0.1:1"}       # noqa: TID251  the test's own process

    done = subprocess.run([sys.executable, "-c", program], env=env, capture_output=True, text=True, check=True)

    assert forbidden.isdisjoint(done.stdout.split())


def test_the_api_with_all_its_parts_comes_up_without_torch(settings):
    program = """
import sys
from service.api.app import create_app
from service.settings import Settings
create_app(Settings()).openapi()
print(*{name.partition('.')[0] for name in sys.modules})
"""
    env = {
        **os.environ,       # noqa: TID251  the test's own process
        "EXPUNGE_DATABASE_URL": settings.database_url.get_secret_value(),
        "EXPUNGE_HOME": str(settings.home),
        "EXPUNGE_KEYS": str(settings.keys),
    }

    done = subprocess.run([sys.executable, "-c", program], env=env, capture_output=True, text=True, check=True)

    assert {"torch", "numpy", "alembic", "celery", "worker"}.isdisjoint(done.stdout.split())


def test_only_the_store_knows_boto3():
    knows = [path for path in files(".py") if re.search(r"^\s*(import|from) boto", path.read_text(), re.MULTILINE)]

    assert [path for path in knows if "tests" not in path.parts] == [ROOT / "service" / "storage.py"]


def test_every_arrow_between_modules_points_the_right_way():
    done = subprocess.run([BIN / "lint-imports", "--no-cache"], cwd=ROOT, capture_output=True, text=True, check=False)

    assert done.returncode == 0, done.stdout


# ---- migrations -----------------------------------------------------------------------------------------------------


def test_the_api_asks_for_the_newest_migration():
    scripts = ScriptDirectory.from_config(config(None))

    assert scripts.get_heads() == [HEAD]


def test_migrations_make_exactly_the_tables_of_the_code(engine: Engine):
    with engine.begin() as connection:
        command.check(config(connection))


def test_migrations_can_be_taken_back_and_applied_again(engine: Engine):
    with engine.begin() as connection:
        command.downgrade(config(connection), "base")
    bare = inspect(engine).get_table_names()
    with engine.begin() as connection:
        functions = connection.scalars(text("SELECT proname FROM pg_proc WHERE pronamespace = 'public'::regnamespace"))
        left = functions.all()
        command.upgrade(config(connection), "head")
        command.check(config(connection))

    assert bare == ["alembic_version"]
    assert left == []


# ---- files ----------------------------------------------------------------------------------------------------------


def test_no_file_of_code_is_long():
    lines = {path: len(path.read_text().splitlines()) for path in files(".py")}
    long = [path.name for path, n in lines.items() if n > (LONGEST_TEST if "tests" in path.parts else LONGEST)]

    assert long == []


def test_nothing_is_left_for_later():
    found = [f"{path.name}: {hit[0]}" for path in files(".py", ".md", ".toml", ".yml", "Makefile", "Dockerfile")
             if (hit := UNFINISHED.search(path.read_text()))]

    assert found == []


def test_no_file_knows_the_machine_that_it_was_written_on():
    binary = {".parquet", ".png", ".pdf", ".safetensors"}
    found = [f"{path.name}: {hit[0]}" for path in files() if path.suffix not in binary
             if (hit := OF_ONE_MACHINE.search(path.read_text()))]

    assert found == []


def test_every_package_says_that_it_is_typed():
    assert all((ROOT / package / "py.typed").exists() for package in ("service", "worker"))
