"""The same function on many items: worker processes, results in order."""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from typing import TypeVar

import cv2

from data_prep.errors import InputError

Item = TypeVar("Item")
Result = TypeVar("Result")


def available_workers() -> int:
    """Processors this process may use."""
    return len(os.sched_getaffinity(0))


def map_in_order(
    function: Callable[[Item], Result], items: Sequence[Item], workers: int
) -> Iterator[Result]:
    """``map(function, items)``, in worker processes if there are several.

    Parameters
    ----------
    function : callable
        At the top level of a module, so that it can be sent to a worker.
    items : sequence
    workers : int
        1: everything in this process.

    Raises
    ------
    InputError
        If `workers` is not positive, or a worker process died.
    """
    if workers < 1:
        raise InputError(f"--workers {workers} is too few; give 1 or more.")
    if workers == 1 or len(items) < 2:
        yield from map(function, items)
        return
    # spawn: OpenMP and MKL, in use here, may hang after a fork.
    pool = ProcessPoolExecutor(
        min(workers, len(items)),
        mp_context=multiprocessing.get_context("spawn"),
        initializer=cv2.setNumThreads,  # a process has one processor
        initargs=(1,),
    )
    try:
        yield from pool.map(function, items)
    except BrokenProcessPool:
        raise InputError(
            "A worker process died, perhaps for want of memory; run the command again "
            "with fewer --workers."
        ) from None
    finally:
        pool.shutdown(cancel_futures=True)
