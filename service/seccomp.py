"""A process of ours gives up sockets, other programs and other processes' memory, for good and without any privilege.

Linux on x86_64 and aarch64 only: a filter of system calls that answers EPERM. Elsewhere (macOS, other processors) there
is no such thing, and a sandbox has its limits alone; see `offered`.
"""

import ctypes
import errno
import os
import platform
import struct
import sys
from dataclasses import dataclass

NO_NEW_PRIVS, SET_SECCOMP, MODE_FILTER = 38, 22, 2          # of prctl(2)
LOAD, EQUAL, AT_LEAST, RETURN = 0x20, 0x15, 0x35, 0x06      # instructions of a filter: BPF_LD|W|ABS, BPF_JMP|…, BPF_RET
NUMBER_AT, PROCESSOR_AT = 0, 4                              # where struct seccomp_data has them
ALLOW, REFUSE = 0x7FFF_0000, 0x0005_0000 | errno.EPERM
FOREIGN = 0x4000_0000       # numbers from here on are of x86_64's second table, which would lead around the first


@dataclass(frozen=True, slots=True)
class Processor:
    """How Linux calls a processor, and the numbers of what is refused there."""

    audit: int
    refused: tuple[int, ...]


# socket, connect, bind, sendto, execve, ptrace, execveat, bpf, process_vm_readv, process_vm_writev; then the same
# everywhere: io_uring_setup, which opens sockets past any filter, and pidfd_getfd.
PROCESSORS = {
    "x86_64": Processor(0xC000_003E, (41, 42, 49, 44, 59, 101, 322, 321, 310, 311, 425, 438)),
    "aarch64": Processor(0xC000_00B7, (198, 203, 200, 206, 221, 117, 281, 280, 270, 271, 425, 438)),
}


def offered() -> bool:
    """Whether this system has such a filter."""
    return sys.platform == "linux" and platform.machine() in PROCESSORS


def close_off() -> None:
    """From now on EPERM for all of that, in this process and its children.

    Raises:
        OSError: the kernel was built without it.
    """
    if not offered():
        return
    program = filter_of(PROCESSORS[platform.machine()])
    code = ctypes.create_string_buffer(program, len(program))
    header = struct.pack("HxxxxxxP", len(program) // 8, ctypes.addressof(code))
    libc = ctypes.CDLL(None, use_errno=True)
    for call in ((NO_NEW_PRIVS, 1, 0, 0, 0), (SET_SECCOMP, MODE_FILTER, header, 0, 0)):
        if libc.prctl(*(ctypes.c_ulong(each) if isinstance(each, int) else each for each in call)):
            raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


def filter_of(processor: Processor) -> bytes:
    """The filter as the kernel reads it; a jump says how many instructions to pass over if true, and if not."""
    n = len(processor.refused)
    head = [
        (LOAD, 0, 0, PROCESSOR_AT),
        (EQUAL, 0, n + 3, processor.audit),     # another processor's calls have other numbers: refuse all
        (LOAD, 0, 0, NUMBER_AT),
        (AT_LEAST, n + 1, 0, FOREIGN),
    ]
    calls = [(EQUAL, n - i, 0, number) for i, number in enumerate(processor.refused)]
    ends = [(RETURN, 0, 0, ALLOW), (RETURN, 0, 0, REFUSE)]
    return b"".join(struct.pack("HBBI", *each) for each in [*head, *calls, *ends])
