"""kill -9 while a job waits for its children: the children are done again, and their parent goes on with them."""

import os
import signal
from pathlib import Path

import pytest

from service.client import Client
from service.stack import Stack
from tests.e2e.waiting import job_ended
from tests.tiny import MODEL, tiny_parquet

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("stack")]
SLOW = {"epochs": 60, "batch": 8, "optimizer": {"name": "adamw", "lr": 0.001}}
POLICY = {"ladder": [{"name": "nabla_tau"}, {"name": "retrain"}],
          "audit": {"permutations": 99, "bootstrap": 99, "references": 2, "rungs": [{"name": "population"}]}}


def kill_worker(running: Stack) -> None:
    """The worker and its pool, at once."""
    worker = next(child for child in running.children if child.name == "worker")
    assert worker.process is not None
    os.killpg(worker.process.pid, signal.SIGKILL)
    worker.process.wait()


def test_a_worker_that_is_killed_at_a_reference_costs_the_waiting_job_nothing(
    running: Stack, client: Client, tmp_path: Path
) -> None:
    client.add_dataset("references", tiny_parquet(tmp_path / "d.parquet"))
    recipe = {**MODEL, "name": "references", "dataset": "references", "training": SLOW, "policy": POLICY}
    job_ended(client, client.add_model(recipe)["job"]["id"])
    request = client.forget("references", {"kind": "subjects", "ids": ["person-train-1", "person-train-2"]})

    seen: list[str] = []
    for event in client.events(request["id"]):
        seen.append(event.data.get("phase", event.kind))
        if event.data.get("phase") == "references" and "killed" not in seen:
            kill_worker(running)
            running.revive()
            seen.append("killed")

    job = client.job(request["job_id"])
    assert "killed" in seen
    assert (job["status"], job["attempt"]) == ("succeeded", 1)
    assert len(job["result"]["reference_seconds"]) == 2
    assert seen.count("certified") == 1
    assert [version["number"] for version in client.versions("references")] == [1, 2]
