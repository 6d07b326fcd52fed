"""Blocks of random draws on all cores; each block has its own stream, so the number of cores changes nothing."""

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Final, TypeVar

import numpy as np

T = TypeVar("T")
BLOCK: Final = 1 << 17      # numbers of one array, which stays in the cache
MOST: Final = 4             # threads; numpy lets go of the interpreter, but only while it is inside a block
LEAST: Final = 1 << 20      # numbers to be drawn that are worth a second thread
KEPT: Final = 30 << 20      # bytes; what glibc learns from is below 32 MiB


def blocks(
    function: Callable[[np.random.Generator, int], T], draws: int, size: int, rng: np.random.Generator
) -> list[T]:
    """`function(stream, draws of the block)` of every block, in order.

    Args:
        size: numbers that one draw needs; a block is as large as suits a processor's cache.
    """
    each = max(1, min(draws, BLOCK // size))
    parts = [min(each, draws - start) for start in range(0, draws, each)]
    streams = rng.spawn(len(parts))
    if draws * size < LEAST:
        return [function(*pair) for pair in zip(streams, parts, strict=True)]
    _keep_memory()
    with ThreadPoolExecutor(min(MOST, len(os.sched_getaffinity(0)))) as pool:
        return list(pool.map(function, streams, parts))


def _keep_memory() -> None:
    """Let the allocator keep what it gets back, for blocks ask for the same sizes again and again.

    glibc returns freed arrays to the system, and new pages cost more than the sums on them, until it once has seen a
    larger array being freed (M_MMAP_THRESHOLD is dynamic). The pages of this one are never touched, so it costs none.
    """
    np.empty(KEPT, np.uint8)
