"""The same function on every image of a batch, or part of a photo, in threads.

They share the processors.  A solve uses several of them only here and there, so images beside
each other are faster than one after another.  Every result is the same: the native code is
bit-equal for any number of threads, and nothing is summed across calls here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import TypeVar

from caffe_layers import _laplacian  # type: ignore[attr-defined]  # compiled

Item = TypeVar("Item")
Result = TypeVar("Result")


def calls_at_once(items: int) -> int:
    """For how many of so many items a function is called at the same time, at least 1.

    As many as there are threads, which is what ``OMP_NUM_THREADS`` says, else the number of
    processors.
    """
    return max(1, min(items, _laplacian.threads()))


def map_in_threads(function: Callable[[Item], Result], items: Iterable[Item]) -> list[Result]:
    """``[function(item) for item in items]``, at the same time.

    Parameters
    ----------
    function : callable
        Calls for different items touch different data.
    items : iterable

    Raises
    ------
    Exception
        What `function` raises for the first item that it fails for.
    """
    items = list(items)
    workers = calls_at_once(len(items))
    if workers == 1:
        return [function(item) for item in items]
    return list(_pool(workers, _laplacian.threads() // workers).map(function, items))


@cache
def _pool(workers: int, threads: int) -> ThreadPoolExecutor:
    """Threads that stay, each of which computes with so many threads of OpenMP's."""
    return ThreadPoolExecutor(
        workers, "map_in_threads", initializer=_laplacian.set_threads, initargs=(threads,)
    )
