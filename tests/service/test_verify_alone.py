"""The verifier as a stranger runs it: one file, a bundle and the keys in an empty folder."""

import json
import shutil
import subprocess
import sys
import venv
from importlib.metadata import distribution
from pathlib import Path

import pytest

from service.ledger import bundle
from tests.service.ledger_fixture import SIZE


@pytest.fixture
def folder(tmp_path, log):
    """An empty folder with the verifier, a bundle and the public keys; nothing of the service."""
    alone = tmp_path / "alone"
    alone.mkdir()
    (alone / "verify.pyz").write_bytes(bundle.verifier())
    (alone / "bundle.zip").write_bytes(log.bundle())
    (alone / "expunge.pub").write_text(log.keys.trust)
    (alone / "seen").write_text(log.checkpoint(7))
    (alone / "path").write_text(log.consistency(7, SIZE))
    return alone


def run(folder, *arguments):
    command = [sys.executable, "-I", "verify.pyz", *arguments]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=60, check=False)


def test_a_stranger_verifies_with_one_file(folder):
    seen = ("--checkpoint", "seen", "--consistency", "path")

    done = run(folder, "bundle.zip", "--key", "expunge.pub", *seen)

    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines()[-1] == "VALID"
    assert [line[:6] for line in done.stdout.splitlines()[:-1]] == [f"ok   {number}" for number in (*range(8), 9)]


def test_a_stranger_is_told_which_step_failed(folder, log):
    (folder / "bundle.zip").write_bytes(log.bundle(report=b"another"))

    done = run(folder, "bundle.zip", "--key", "expunge.pub")

    assert (done.returncode, done.stderr) == (17, "")
    assert done.stdout.splitlines()[-2:] == [
        "FAIL 7 report digests: report.json is not the file that was signed", "NOT VALID",
    ]  # fmt: skip


@pytest.mark.parametrize("arguments", [("missing", "--key", "expunge.pub"), ("bundle.zip", "--key", "missing")])
def test_a_missing_file_is_step_0_and_no_stack_trace(folder, arguments):
    done = run(folder, *arguments)

    assert (done.returncode, done.stderr) == (10, "")
    assert "FAIL 0 input" in done.stdout


def test_the_verifier_needs_cryptography_and_nothing_else(folder):
    probe = (
        "import sys, runpy; sys.path.insert(0, 'verify.pyz'); before = set(sys.modules); import service.ledger.verify;"
        "print(sorted({n.partition('.')[0] for n in set(sys.modules) - before} - sys.stdlib_module_names))"
    )

    done = subprocess.run(
        [sys.executable, "-I", "-c", probe], cwd=folder, capture_output=True, text=True, timeout=60, check=True
    )

    assert set(json.loads(done.stdout.replace("'", '"'))) <= {"service", "cryptography", "_cffi_backend", "_openssl"}


# ---- with an empty environment --------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def interpreter(tmp_path_factory):
    """A Python of its own that has the package `cryptography` and what that needs, and nothing else."""
    home = tmp_path_factory.mktemp("empty") / "venv"
    venv.create(home, with_pip=False, symlinks=True)
    target = next(home.glob("lib/python3*/site-packages"))
    for name in ("cryptography", "cffi", "pycparser"):
        _install(name, target)
    return home / "bin" / "python"


def _install(name, target):
    """The files of an installed distribution, as pip would unpack them."""
    found = distribution(name)
    for file in found.files or ():
        if ".." not in file.parts and "__pycache__" not in file.parts:
            (target / file).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(str(found.locate_file(file)), target / file)


def test_the_empty_environment_is_empty(interpreter):
    installed = "[path for path in sys.path if 'packages' in path]"
    probe = f"import pkgutil, sys; print(*(each.name for each in pkgutil.iter_modules({installed})))"

    done = subprocess.run([interpreter, "-I", "-c", probe], capture_output=True, text=True, timeout=60, check=True)

    assert {"cryptography"} < set(done.stdout.split()) <= {"cryptography", "_cffi_backend", "cffi", "pycparser"}


@pytest.mark.parametrize("name", ["service", "pydantic", "sqlalchemy", "rfc8785", "securesystemslib", "fastapi"])
def test_the_empty_environment_has_nothing_of_the_service(interpreter, folder, name):
    done = subprocess.run(
        [interpreter, "-I", "-c", f"import {name}"], cwd=folder, capture_output=True, text=True, timeout=60, check=False
    )

    assert f"No module named '{name}'" in done.stderr


def test_a_stranger_verifies_in_an_empty_folder_with_an_empty_environment(interpreter, folder, log):
    (folder / "broken.zip").write_bytes(log.bundle(report=b"another"))
    seen = ("--checkpoint", "seen", "--consistency", "path")
    command = [interpreter, "-I", "verify.pyz"]

    good, bad = (
        subprocess.run(
            [*command, name, "--key", "expunge.pub", *seen], cwd=folder, env={}, capture_output=True, text=True,
            timeout=60, check=False,
        )
        for name in ("bundle.zip", "broken.zip")
    )  # fmt: skip

    assert (good.returncode, good.stderr, good.stdout.splitlines()[-1]) == (0, "", "VALID")
    assert (bad.returncode, bad.stderr, bad.stdout.splitlines()[-1]) == (17, "", "NOT VALID")
    assert {path.name for path in Path(folder).iterdir()} == {
        "verify.pyz", "bundle.zip", "broken.zip", "expunge.pub", "seen", "path"
    }
