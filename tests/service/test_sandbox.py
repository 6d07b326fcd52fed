"""`timeit` of the standard library runs any statement, which makes it the module of every evil child here."""

import fcntl
import json
import subprocess
import sys

import pytest

from service.errors import BadInput, ExpungeError
from service.sandbox import TOO_MUCH, Limits, run, stream

SMALL = Limits(cpu_s=5, wall_s=20, memory_mb=256, output_mb=1)


def output_of(*lines: str, limits: Limits = SMALL) -> bytes:
    """What a child prints that runs these lines and nothing else."""
    program = "\n".join(["import os, sys", *lines, "sys.stdout.flush()", "os._exit(0)"])
    return b"".join(stream("timeit", "-n1", "-r1", program, limits=limits))


def is_locked(path) -> bool:
    """Whether another process holds the lock; a dead one, even a zombie, holds none."""
    with path.open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        return False


def hold(path) -> str:
    """A line that takes the lock of a file and says so."""
    return f"import fcntl; f = open({str(path)!r}, 'w'); fcntl.flock(f, fcntl.LOCK_EX); print('held', flush=True)"


def test_the_json_that_a_module_prints_is_the_result(tmp_path):
    (tmp_path / "in.json").write_text('{"rows": [1, 2, null]}')

    result = run("json.tool", str(tmp_path / "in.json"), limits=SMALL)

    assert result == {"rows": [1, 2, None]}


def test_a_child_that_fails_is_bad_input(tmp_path):
    (tmp_path / "in.json").write_text('{"rows": ')

    with pytest.raises(BadInput, match="within limits"):
        run("json.tool", str(tmp_path / "in.json"), limits=SMALL)


def test_what_a_child_says_on_standard_error_stays_there(capfd):
    with pytest.raises(BadInput) as caught:
        output_of("raise ValueError('patient 8222157')")

    assert "8222157" not in str(caught.value)
    assert "8222157" not in "".join(capfd.readouterr())


def test_output_that_is_no_json_is_bad_input():
    with pytest.raises(BadInput):
        run("timeit", "-n1", "-r1", "pass", limits=SMALL)


def test_output_without_end_is_bad_input():
    with pytest.raises(BadInput):
        run("timeit", "-n1", "-r1", "while True: print('x' * 1000)", limits=SMALL)


def test_a_module_that_is_not_there_is_our_fault():
    with pytest.raises(ExpungeError) as caught:
        run("service.no_such_module", limits=SMALL)

    assert caught.value.status == 500


def test_an_endless_loop_ends_with_its_processor_time():
    with pytest.raises(BadInput):
        output_of("while True: pass", limits=Limits(cpu_s=1, wall_s=60))


def test_a_child_that_only_waits_ends_with_our_patience():
    with pytest.raises(BadInput):
        output_of("import signal", "signal.pause()", limits=Limits(wall_s=0.3))


def test_a_child_that_closes_its_output_and_waits_ends_too():
    with pytest.raises(BadInput):
        output_of("import signal", "os.close(1)", "signal.pause()", limits=Limits(wall_s=0.3))


@pytest.mark.parametrize(("megabytes", "survives"), [(64, True), (512, False)])
def test_memory_is_limited(megabytes, survives):
    lines = (f"hog = bytearray({megabytes} << 20)", "print('alive')")

    if survives:
        assert output_of(*lines) == b"alive\n"
    else:
        with pytest.raises(BadInput):
            output_of(*lines)


@pytest.mark.parametrize(("allowed_mb", "survives"), [(2, True), (0, False)])
def test_the_size_of_files_is_limited(allowed_mb, survives):
    limits = Limits(file_mb=allowed_mb)
    lines = ("f = open('big', 'wb')", "f.write(bytes(1 << 20))", "f.flush()", "print('written')")

    if survives:
        assert output_of(*lines, limits=limits) == b"written\n"
    else:
        with pytest.raises(BadInput):
            output_of(*lines, limits=limits)


def test_the_number_of_open_files_is_limited():
    with pytest.raises(BadInput):
        output_of("fs = [open(os.devnull) for _ in range(100)]", limits=Limits(files=50))


def test_a_child_may_lower_but_not_raise_its_limits():
    with pytest.raises(BadInput):
        output_of("import resource", "resource.setrlimit(resource.RLIMIT_CPU, (10, 6))", limits=SMALL)


def test_a_child_sees_no_secret_of_ours(monkeypatch):
    monkeypatch.setenv("EXPUNGE_INDEX_KEY", "secret")
    monkeypatch.setenv("PYTHONPATH", "/somewhere")

    seen = output_of("import json", "print(json.dumps(dict(os.environ)))")

    assert not [name for name in json.loads(seen) if name.startswith(("EXPUNGE", "PYTHON", "AWS"))]


def test_a_child_works_in_an_empty_folder_that_is_gone_afterwards(tmp_path):
    where, what = output_of("print(os.getcwd())", "print(os.listdir())").decode().splitlines()

    assert what == "[]"
    assert subprocess.run(["test", "-e", where]).returncode == 1


def test_output_comes_while_the_child_is_at_work_and_leaving_kills_it(tmp_path):
    chunks = stream("timeit", "-n1", "-r1", f"{hold(tmp_path / 'lock')}\nimport signal\nsignal.pause()", limits=SMALL)

    first = next(chunks)
    held = is_locked(tmp_path / "lock")
    chunks.close()

    assert first == b"held\n"
    assert held
    assert not is_locked(tmp_path / "lock")


def test_the_children_of_a_child_die_with_it(tmp_path):
    chunks = stream(
        "timeit", "-n1", "-r1",
        f"import os, signal\nif os.fork() == 0:\n    {hold(tmp_path / 'lock')}\nsignal.pause()",
        limits=SMALL,
    )

    next(chunks)
    held = is_locked(tmp_path / "lock")
    chunks.close()

    assert held
    with (tmp_path / "lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)        # waits for the death of the grandchild, for ever if it lives


def test_the_watch_ends_a_process_that_holds_too_much():
    ended = subprocess.run([sys.executable, "-c", "from service.sandbox import _watch; _watch(1 << 20)"])

    assert ended.returncode == TOO_MUCH
