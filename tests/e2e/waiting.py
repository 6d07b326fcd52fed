"""Waiting for the end of a job."""

import time
from typing import Any

from service.client import Client


def job_ended(client: Client, job_id: str) -> dict[str, Any]:
    """Polls, as any client would; pytest's timeout is the limit."""
    while (job := client.job(job_id))["finished_at"] is None:
        time.sleep(0.05)
    return job
