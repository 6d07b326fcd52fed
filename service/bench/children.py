"""Processes that begin at the same moment."""

from collections.abc import Callable, Sequence
from multiprocessing import get_context
from multiprocessing.context import ForkServerContext, ForkServerProcess
from multiprocessing.queues import SimpleQueue
from multiprocessing.synchronize import Barrier
from typing import TypeVar

from service.errors import Unavailable

T = TypeVar("T")
PATIENCE_S = 60.0


def forks() -> ForkServerContext:
    """Children are forked from a process that has imported what they need: they start within milliseconds."""
    made = get_context("forkserver")
    made.set_forkserver_preload(["service.cli", "service.bench.faults", "service.bench.rates"])
    return made


def together(n: int, work: Callable[[int, Barrier], T]) -> list[T]:
    """What `work(number, barrier)` returns in each of n processes; it waits at the barrier when it is ready.

    Raises:
        Unavailable: one of them has failed; it says why on standard error.
    """
    of = forks()
    barrier = of.Barrier(n)
    answers: SimpleQueue[T] = of.SimpleQueue()
    arguments = ((work, number, barrier, answers) for number in range(n))
    children = [of.Process(target=_answer, args=each, daemon=True) for each in arguments]
    for child in children:
        child.start()
    ended(children)
    return [answers.get() for _ in children]


def ended(children: Sequence[ForkServerProcess]) -> None:
    """Wait for them."""
    for child in children:
        child.join()
    if any(child.exitcode for child in children):
        raise Unavailable("A process of the benchmark has failed")


def _answer(work: Callable[[int, Barrier], T], number: int, barrier: Barrier, answers: "SimpleQueue[T]") -> None:
    answers.put(work(number, barrier))
