"""The library as a user meets it: no service, no settings, no words."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
from pyarrow import parquet

import worker

ROOT = Path(__file__).parents[2]


def test_the_library_is_six_names():
    assert worker.__all__ == ["AuditSets", "Unlearned", "audit", "preflight", "train", "unlearn"]


@pytest.mark.slow
def test_the_example_of_the_readme_forgets():
    script = ROOT / "examples" / "library.py"
    done = subprocess.run([sys.executable, script], capture_output=True, text=True, check=True)

    before, after = (float(each) for each in re.findall(r"0\.\d+", done.stdout.splitlines()[0]))
    assert done.stderr == ""
    assert before >= 0.7
    assert abs(after - 0.5) < 0.05


def test_importing_the_library_reads_no_settings_and_starts_no_server():
    unwanted = ("service.settings", "celery", "sqlalchemy", "fastapi")
    code = f"import sys; from worker import audit, train, unlearn; print([m for m in {unwanted} if m in sys.modules])"

    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)

    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize("split", ["train", "validation", "holdout"])
def test_no_patient_of_the_example_is_in_two_splits(split):
    table = parquet.read_table(ROOT / "examples" / "hospital" / "hospital.parquet", columns=["split", "subject_id"])
    rows = list(zip(table["split"].to_pylist(), table["subject_id"].to_pylist(), strict=True))

    inside, outside = {p for s, p in rows if s == split}, {p for s, p in rows if s != split}

    assert inside
    assert not inside & outside


def test_the_example_is_small_enough_to_commit():
    assert (ROOT / "examples" / "hospital" / "hospital.parquet").stat().st_size <= 1_400_000
