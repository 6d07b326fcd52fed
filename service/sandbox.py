"""Run one of our modules over an untrusted file in a child process that may die, eat or loop without harm to us."""

import json
import os
import resource
import runpy
import select
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Generator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass

from service import seccomp
from service.errors import BadInput, ExpungeError

CHUNK = 1 << 16
MAX_LINE = 64 << 20
NO_MODULE = 70      # exit status of a child whose module could not be imported: our fault, not the file's
TOO_MUCH = 71       # exit status of a child that saw itself exceed its memory
NO_FILTER = 72      # exit status of a child that the kernel did not let give up the network
ENVIRONMENT = {
    "ARROW_DEFAULT_MEMORY_POOL": "system",      # gives memory back, so the limit measures what is in use
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "TORCH_FORCE_WEIGHTS_ONLY_LOAD": "1",       # nothing here loads a pickle; should anything try, torch refuses
}


@dataclass(frozen=True, slots=True)
class Limits:
    """What a child may use; more ends it."""

    cpu_s: int = 600
    wall_s: float = 900         # spent waiting for the child; a slow reader of its output does not count
    memory_mb: int = 1024
    files: int = 64             # open at once
    file_mb: int = 0            # size of any file it writes
    output_mb: int = 16         # of standard output; only `run` collects it
    network: bool = False       # sockets and starting programs; denied where the system offers that: see seccomp


def run(module: str, *args: str, limits: Limits, stdin: int = subprocess.DEVNULL) -> object:
    """Run `python -m module args` and return the JSON that it prints; BadInput if it fails or exceeds a limit."""
    output = bytearray()
    for chunk in stream(module, *args, limits=limits, stdin=stdin):
        output += chunk
        if len(output) > limits.output_mb << 20:
            raise _unparsable()
    try:
        return json.loads(output)
    except (ValueError, RecursionError):
        raise _unparsable() from None


def stream(module: str, *args: str, limits: Limits, stdin: int = subprocess.DEVNULL) -> Generator[bytes]:
    """Run `python -m module args` and yield its standard output as it comes; BadInput as for `run`."""
    with tempfile.TemporaryDirectory(prefix="expunge-") as folder, _child(module, args, limits, folder, stdin) as child:
        left_s = limits.wall_s
        while True:
            began = time.monotonic()
            chunk = _next_chunk(child, left_s)
            left_s -= time.monotonic() - began
            if not chunk:
                break
            yield chunk
        _expect_success(child, left_s)


def lines(module: str, *args: str, limits: Limits) -> Generator[bytes]:
    """The same by whole lines, without their ends; BadInput also for a line that does not end."""
    rest = bytearray()
    for chunk in stream(module, *args, limits=limits):
        *whole, tail = chunk.split(b"\n")
        for line in whole:
            yield bytes(rest + line)
            rest.clear()
        rest += tail
        if len(rest) > MAX_LINE:
            raise _unparsable()


@contextmanager
def _child(
    module: str, args: Sequence[str], limits: Limits, folder: str, stdin: int
) -> Generator[subprocess.Popen[bytes]]:
    """A child in its own session and an empty folder, killed with its group at the end."""
    launch = [sys.executable, "-I", "-X", "utf8", "-m", __name__, json.dumps(asdict(limits)), module, *args]
    child = subprocess.Popen(
        launch, stdin=stdin, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,     # its words may hold personal data
        env=ENVIRONMENT | {"TMPDIR": folder}, cwd=folder, start_new_session=True,
    )
    try:
        yield child
    finally:
        _kill(child)


def _kill(child: subprocess.Popen[bytes]) -> None:
    with suppress(ProcessLookupError, PermissionError):     # macOS refuses to signal a group of the dead
        os.killpg(child.pid, signal.SIGKILL)
    child.wait()
    if child.stdout:
        child.stdout.close()


def _next_chunk(child: subprocess.Popen[bytes], wait_s: float) -> bytes:
    if child.stdout is None:
        raise _unparsable()
    poll = select.poll()
    poll.register(child.stdout, select.POLLIN)
    if not poll.poll(max(wait_s, 0) * 1000):
        raise _unparsable()
    return os.read(child.stdout.fileno(), CHUNK)


def _expect_success(child: subprocess.Popen[bytes], wait_s: float) -> None:
    try:
        status = child.wait(timeout=max(wait_s, 0))
    except subprocess.TimeoutExpired:
        raise _unparsable() from None
    if status == NO_MODULE:
        raise ExpungeError("the program that reads files is not installed completely")
    if status == NO_FILTER:
        raise ExpungeError("the kernel has no seccomp filters, so files of strangers cannot be read safely here")
    if status:
        raise _unparsable()


def _unparsable() -> BadInput:
    return BadInput("the file could not be parsed within limits")


# ---- in the child ---------------------------------------------------------------------------------------------------


def main(limits: str, module: str, *args: str) -> None:
    """Bind ourselves first; then become the module."""
    restrict(Limits(**json.loads(limits)))
    sys.argv = [module, *args]
    try:
        runpy.run_module(module, run_name="__main__", alter_sys=True)
    except ImportError:
        sys.exit(NO_MODULE)


def restrict(limits: Limits) -> None:
    """Take away what the limits do not grant, for this process and for good."""
    os.umask(0o077)
    _cap(resource.RLIMIT_CORE, 0)       # a core would hold the file's content
    _cap(resource.RLIMIT_CPU, limits.cpu_s)
    _cap(resource.RLIMIT_NOFILE, limits.files)
    _cap(resource.RLIMIT_FSIZE, limits.file_mb << 20)
    _cap(resource.RLIMIT_DATA, limits.memory_mb << 20)
    if sys.platform == "darwin":        # where the kernel takes note of RLIMIT_DATA, and does nothing
        threading.Thread(target=_watch, args=(limits.memory_mb << 20,), daemon=True).start()
    if not limits.network:
        _close_off()


def _close_off() -> None:
    try:
        seccomp.close_off()
    except OSError:
        sys.exit(NO_FILTER)


def _cap(what: int, most: int) -> None:
    _, hard = resource.getrlimit(what)
    if hard != resource.RLIM_INFINITY:
        most = min(most, hard)
    resource.setrlimit(what, (most, most))


def _watch(most: int) -> None:
    """End the process once it has held more than `most` bytes."""
    unit = 1 if sys.platform == "darwin" else 1024
    while resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit <= most:
        threading.Event().wait(0.02)
    os._exit(TOO_MUCH)


if __name__ == "__main__":
    main(*sys.argv[1:])
