"""A child that reads a stranger's file can neither talk to anybody nor become another program."""

import struct

import pytest

from service import seccomp
from service.sandbox import Limits, stream

SMALL = Limits(cpu_s=5, wall_s=20, memory_mb=256, output_mb=1)
TALKATIVE = Limits(cpu_s=5, wall_s=20, memory_mb=256, output_mb=1, network=True)
LINUX = pytest.mark.skipif(not seccomp.offered(), reason="this system has no filter of system calls")


def told(*lines: str, limits: Limits = SMALL) -> str:
    """What a child prints that runs these lines; an OSError is printed by its name."""
    body = "\n".join(f"    {line}" for line in lines)
    program = f"import errno, os, socket\ntry:\n{body}\nexcept OSError as e:\n    print(errno.errorcode[e.errno])"
    last = "\nos.sys.stdout.flush()\nos._exit(0)"
    return b"".join(stream("timeit", "-n1", "-r1", program + last, limits=limits)).decode()


@LINUX
@pytest.mark.parametrize("family", ["AF_INET", "AF_INET6", "AF_UNIX", "AF_NETLINK"])
def test_a_child_cannot_open_a_socket(family):
    assert told(f"print(socket.socket(socket.{family}, socket.SOCK_DGRAM))") == "EPERM\n"


@LINUX
def test_a_child_cannot_become_another_program():
    assert told("os.execv('/bin/true', ['true'])") == "EPERM\n"


@LINUX
def test_a_child_of_a_child_is_as_closed_off():
    lines = ["pid = os.fork()", "if not pid:", "    socket.socket()", "os.waitpid(pid, 0)", "print('parent')"]

    assert told(*lines) == "EPERM\nparent\n"


@LINUX
def test_a_child_cannot_set_up_a_ring_whose_requests_no_filter_sees():
    lines = ["import ctypes", "libc = ctypes.CDLL(None, use_errno=True)", "libc.syscall(425, 1, 0)",
             "print(errno.errorcode[ctypes.get_errno()])"]

    assert told(*lines) == "EPERM\n"


def test_a_child_that_may_can_open_a_socket():
    assert told("socket.socket()", "print('open')", limits=TALKATIVE) == "open\n"


def test_a_child_still_reads_files_and_starts_threads():
    read = "t = threading.Thread(target=lambda: print(len(open(os.devnull).read())))"
    lines = ["import threading", read, "t.start()", "t.join()"]

    assert told(*lines) == "0\n"


@pytest.mark.parametrize("name", seccomp.PROCESSORS)
def test_the_filter_refuses_what_is_listed_and_allows_the_rest(name):
    processor = seccomp.PROCESSORS[name]

    answers = {n: verdict(seccomp.filter_of(processor), processor.audit, n) for n in range(500)}

    assert {n for n, answer in answers.items() if answer == seccomp.REFUSE} == set(processor.refused)
    assert {answer for n, answer in answers.items() if n not in processor.refused} == {seccomp.ALLOW}


@pytest.mark.parametrize("name", seccomp.PROCESSORS)
def test_calls_of_another_processor_or_table_are_refused(name):
    program, audit = seccomp.filter_of(seccomp.PROCESSORS[name]), seccomp.PROCESSORS[name].audit

    assert verdict(program, 0x4000_0003, 1) == seccomp.REFUSE       # 32-bit x86
    assert verdict(program, audit, seccomp.FOREIGN | 1) == seccomp.REFUSE


def verdict(program: bytes, audit: int, number: int) -> int:
    """What the filter answers, by an interpreter of its four instructions."""
    at = held = 0
    while True:
        code, yes, no, k = struct.unpack_from("HBBI", program, 8 * at)
        at += 1
        match code:
            case seccomp.LOAD:
                held = {seccomp.NUMBER_AT: number, seccomp.PROCESSOR_AT: audit}[k]
            case seccomp.EQUAL:
                at += yes if held == k else no
            case seccomp.AT_LEAST:
                at += yes if held >= k else no
            case seccomp.RETURN:
                return k

