"""Child processes of `expunge up`: started in their own groups, restarted when they die, ended by id.

A child that is started with `--owned` has a pipe as its standard input, and ends when the pipe's other end is gone: an
owner that is killed leaves nobody behind.
"""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

GRACE_S = 10.0


@dataclass
class Child:
    """One program and the process that runs it now."""

    name: str
    argv: Sequence[str]
    env: Mapping[str, str]
    log: Path
    pass_fds: Sequence[int] = ()
    restarts: int = 0
    process: "subprocess.Popen[bytes] | None" = field(default=None, repr=False)

    def start(self) -> None:
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", *self.argv, "--owned"],
                env=dict(self.env), stdin=subprocess.PIPE, stdout=log, stderr=log,
                start_new_session=True, pass_fds=tuple(self.pass_fds),
            )

    def revive(self) -> bool:
        """Start it again if it has died; returns whether it had."""
        if self.process is None or self.process.poll() is None:
            return False
        self._close()
        _kill_group(self.process.pid)       # children of its own may have outlived it
        self.restarts += 1
        self.start()
        return True

    def stop(self) -> None:
        """End it and all that it started: politely, then by force."""
        if self.process is None:
            return
        self.process.terminate()
        with suppress(subprocess.TimeoutExpired):
            self.process.wait(GRACE_S)
        _kill_group(self.process.pid)
        self.process.wait()
        self._close()

    def _close(self) -> None:
        if self.process is not None and self.process.stdin is not None:
            self.process.stdin.close()


def end_with_owner() -> None:
    """Watch the owner from a thread of this process."""
    threading.Thread(target=_outlive_nobody, name="owner", daemon=True).start()


def _outlive_nobody() -> None:
    os.read(0, 1)       # returns when the other end is closed, by hand or by death
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(GRACE_S)
    _kill_group(os.getpid())


def _kill_group(pid: int) -> None:
    with suppress(ProcessLookupError):
        os.killpg(pid, signal.SIGKILL)
