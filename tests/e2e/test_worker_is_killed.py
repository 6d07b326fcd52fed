"""kill -9 at the worst moment: nothing is lost, nothing is doubled."""

import os
import signal
from pathlib import Path

import pytest

from service.client import Client
from service.stack import Stack
from tests.e2e.waiting import job_ended
from tests.tiny import MODEL, tiny_parquet

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("stack")]
LONG = {"name": "nabla_tau", "passes": 100, "batch": 4}
POLICY = {"ladder": [LONG, {"name": "retrain"}], "audit": {"permutations": 99, "bootstrap": 99}}


def kill_worker(running: Stack) -> None:
    """The worker and its pool, at once."""
    worker = next(child for child in running.children if child.name == "worker")
    assert worker.process is not None
    os.killpg(worker.process.pid, signal.SIGKILL)
    worker.process.wait()


def test_a_job_whose_worker_is_killed_ends_once_with_one_certificate(
    running: Stack, client: Client, tmp_path: Path
) -> None:
    client.add_dataset("d", tiny_parquet(tmp_path / "d.parquet"))
    training = client.add_model({**MODEL, "policy": POLICY})
    job_ended(client, training["job"]["id"])
    request = client.forget("m", {"kind": "subjects", "ids": ["person-train-1", "person-train-2"]})

    kinds: list[str] = []
    for event in client.events(request["id"]):
        kinds.append(event.kind)
        if event.data.get("phase") == "unlearn" and "killed" not in kinds:
            kill_worker(running)
            running.revive()
            kinds.append("killed")

    ended = client.request(request["id"])
    job = client.job(request["job_id"])
    assert "killed" in kinds
    assert ended["state"] == "certified"
    assert job["attempt"] == 2
    assert kinds.count("certified") == 1
    assert [version["number"] for version in client.versions("m")] == [1, 2]
