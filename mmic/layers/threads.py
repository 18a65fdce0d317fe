"""Compiled loops in as many threads as torch has."""

import ctypes
import functools
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import torch

TASK = ctypes.CFUNCTYPE(None, ctypes.c_void_p)


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
    waiting, errors = iter(list(zip(bounds, bounds[1:]))), []

    def work(_=None):
        try:
            for part in waiting:
                function(*arguments, *part)
        except BaseException as error:  # ctypes would lose it
            errors.append(error)

    run = _run_by_openmp if _openmp() else _run_by_pool
    run(work, threads)
    if errors:
        raise errors[0]


def _run_by_openmp(work, threads):
    _openmp()(TASK(work), None, threads, 0)


def _run_by_pool(work, threads):
    others = [_pool(os.getpid(), threads - 1).submit(work) for _ in range(threads - 1)]
    work()
    for other in others:
        other.result()


@functools.lru_cache(maxsize=None)
def _openmp():
    """``GOMP_parallel`` of the library that torch runs its operators with; None elsewhere.

    Its threads wait for their next operator for some milliseconds without leaving the processor to
    anybody: to threads of ours, for example.
    """
    folder = Path(torch.__file__).parent
    for path in (*folder.glob('lib/libgomp*'), *folder.parent.glob('torch.libs/libgomp*')):
        try:
            library = ctypes.CDLL(str(path), mode=os.RTLD_NOW | os.RTLD_NOLOAD)
        except OSError:  # it is there, but torch has not loaded it
            continue
        library.GOMP_parallel.argtypes = TASK, ctypes.c_void_p, ctypes.c_uint, ctypes.c_uint
        library.GOMP_parallel.restype = None
        return library.GOMP_parallel
    return None


@functools.lru_cache(maxsize=1)
def _pool(process, threads):
    """Threads of this process: a forked one has none of its parent's."""
    return ThreadPoolExecutor(threads)
