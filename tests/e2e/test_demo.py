"""The demo does what it says, and its numbers are those that the project promises."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from service.settings import inherited

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("stack")]


def test_the_demo_forgets_proves_it_and_detects_a_forgery() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "service.cli", "demo", "--json"],
        env=inherited(), capture_output=True, text=True, check=False, timeout=250,
    )

    told = json.loads(done.stdout)
    evidence = Path(told["evidence"])
    files = {path.name for path in evidence.iterdir()}
    shutil.rmtree(evidence.parent)
    assert done.returncode == 0
    assert told["auc_before"] >= 0.70
    assert abs(told["auc_after"] - told["auc_retrained"]) <= 0.05
    assert (told["certificates"], told["verified"], told["tamper_detected"]) == (2, True, True)
    assert {"expunge.pub", "demo-five-percent.zip", "demo-five-percent.pdf", "demo-one.zip", "demo-one.html"} <= files
