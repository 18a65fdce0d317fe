"""Compiled loops in as many threads as torch has."""

import functools
import os
from concurrent.futures import ThreadPoolExecutor

import torch


def share(function, count, *arguments):
    """Run a function for parts of ``range(count)``, in as many threads as torch has.

    Args:
        function (Callable): Is called as ``function(*arguments, first, last)`` for each part. It
            must release the interpreter's lock, or the threads wait for each other.
        count (int): How much there is to do.
        *arguments: For every part the same.
    """
    threads = min(torch.get_num_threads(), count)
    bounds = [count * number // threads for number in range(threads + 1)]
    if threads == 1:
        function(*arguments, 0, count)
        return
    pool = _pool(os.getpid(), threads)
    parts = [pool.submit(function, *arguments, *part) for part in zip(bounds, bounds[1:])]
    for part in parts:
        part.result()


@functools.lru_cache(maxsize=1)
def _pool(process, threads):
    """Threads of this process: a forked one has none of its parent's."""
    return ThreadPoolExecutor(threads)
