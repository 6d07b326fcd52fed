"""`expunge up` leaves nobody behind, however it ends, and its next start finds everything in order."""

import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from service.client import Client
from service.ledger import keys
from service.settings import inherited
from tests.tiny import tiny_parquet

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("stack")]


@pytest.fixture
def home() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="expunge-test-") as folder:
        yield Path(folder) / "home"


def up(home: Path) -> tuple["subprocess.Popen[str]", str]:
    """The real command, and the URL that it prints when it serves."""
    process = subprocess.Popen(
        [sys.executable, "-m", "service.cli", "up", "--port", "0", "--home", str(home)],
        env=inherited(), stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
    )
    assert process.stdout is not None
    return process, process.stdout.readline().split()[2]


def family(process: "subprocess.Popen[str]") -> list[psutil.Process]:
    return psutil.Process(process.pid).children(recursive=True)


def of_home(home: Path) -> list[psutil.Process]:
    """Servers that live on this home, whoever started them."""
    return [each for each in psutil.process_iter(["cmdline"]) if str(home) in " ".join(each.info["cmdline"] or [])]


def end(process: "subprocess.Popen[str]", number: signal.Signals) -> int:
    process.send_signal(number)
    code = process.wait(60)
    assert process.stdout is not None
    process.stdout.close()
    return code


def refused(home: Path) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-m", "service.cli", "up", "--port", "0", "--home", str(home)],
        env=inherited(), capture_output=True, text=True, check=False, timeout=60,
    )


def test_an_api_that_cannot_start_ends_up_with_a_sentence_and_leaves_nobody(home: Path) -> None:
    keys.new(home / "keys", "test.example/log")
    (home / "keys" / "index.key").chmod(0o644)

    done = refused(home)

    assert done.returncode == 1
    assert "api.log" in done.stderr
    assert "Traceback" not in done.stderr
    assert of_home(home) == []


def test_ctrl_c_ends_everything_that_up_has_started(home: Path) -> None:
    process, url = up(home)
    started = family(process)

    code = end(process, signal.SIGINT)

    _, alive = psutil.wait_procs(started, 10)
    assert len(started) >= 4
    assert url.startswith("http://127.0.0.1:")
    assert code == 0
    assert alive == []
    assert of_home(home) == []


def test_after_kill_9_the_next_up_has_the_data_and_nobody_else_is_left(home: Path, tmp_path: Path) -> None:
    killed, url = up(home)
    ours = [each for each in family(killed) if "-m" in each.cmdline()]
    with Client(url) as client:
        client.add_dataset("d", tiny_parquet(tmp_path / "d.parquet"))

    end(killed, signal.SIGKILL)
    _, alive = psutil.wait_procs(ours, 30)
    process, url = up(home)
    with Client(url) as client:
        known = client.dataset("d")
    end(process, signal.SIGTERM)

    assert len(ours) >= 3
    assert alive == []
    assert known["facts"]["rows"] > 0
    assert of_home(home) == []


def test_two_services_do_not_share_a_home(home: Path) -> None:
    process, _ = up(home)

    second = refused(home)

    assert second.returncode == 1
    assert "Another" in second.stderr
    assert "Traceback" not in second.stderr
    assert end(process, signal.SIGINT) == 0
    assert not (home / "redis" / "redis.pid").exists()
