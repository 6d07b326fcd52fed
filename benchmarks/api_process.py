"""How long the API process takes to become ready once its database is, and how much memory it then holds.

    python benchmarks/api_process.py

Prints one JSON object. Each start is a process of its own, against embedded PostgreSQL with current migrations.
"""

import json
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import psutil

from service.client import Client
from service.db.migrate import upgrade
from service.db.session import connect
from service.embedded import postgres
from service.ledger import keys
from service.settings import inherited

HOSPITAL = Path(__file__).parents[1] / "examples" / "hospital" / "hospital.parquet"
STARTS, REQUESTS = 5, 200


def main() -> None:
    """Measure, and print."""
    with tempfile.TemporaryDirectory(prefix="expunge-bench-") as folder, postgres(Path(folder) / "postgres") as url:
        engine = connect(url, pool_size=1)
        upgrade(engine)
        engine.dispose()
        keys.new(Path(folder) / "keys", "bench.example/log")
        env = inherited() | {"EXPUNGE_HOME": folder, "EXPUNGE_DATABASE_URL": url}
        print(json.dumps(measure(env)))


def measure(env: dict[str, str]) -> dict[str, object]:
    """Several starts; the last process is then given something to do."""
    seconds: list[float] = []
    idle: list[float] = []
    for start in range(STARTS):
        with api(env) as (process, url, ready_s):
            seconds.append(round(ready_s, 3))
            idle.append(rss_mb(process))
            if start == STARTS - 1:
                load(url)
                loaded = rss_mb(process)
    return {
        "ready_s": statistics.median(seconds), "ready_s_each": seconds,
        "rss_mb": statistics.median(idle), "rss_after_load_mb": loaded, "requests": REQUESTS,
    }


@contextmanager
def api(env: dict[str, str]) -> Iterator[tuple[psutil.Process, str, float]]:
    """A real `expunge api` on a socket that listens already; with the seconds until /readyz said yes."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        fd = listener.fileno()
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        began = time.perf_counter()
        child = subprocess.Popen(
            [sys.executable, "-m", "service.cli", "api", "--fd", str(fd)], env=env, pass_fds=(fd,),
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )
        try:
            httpx.get(f"{url}/readyz", timeout=60).raise_for_status()
            yield psutil.Process(child.pid), url, time.perf_counter() - began
        finally:
            child.terminate()
            child.wait()


def load(url: str) -> None:
    """One upload, and reads over several connections."""
    with Client(url) as client:
        client.add_dataset("hospital", HOSPITAL)
    with httpx.Client(base_url=url) as http:
        for _ in range(REQUESTS // 2):
            http.get("/datasets/hospital").raise_for_status()
            http.get("/models").raise_for_status()


def rss_mb(process: psutil.Process) -> float:
    """Resident memory of the process, in MiB."""
    return round(process.memory_info().rss / 2**20, 1)


if __name__ == "__main__":
    main()
