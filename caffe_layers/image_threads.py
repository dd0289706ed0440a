"""The same function on every image of a batch, in threads that share the processors.

A solve uses several processors only here and there, so images beside each other are faster
than one after another.  Every result is the same: the native code is bit-equal for any
number of threads, and nothing is summed across images here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import TypeVar

from caffe_layers import _laplacian  # type: ignore[attr-defined]  # compiled

Result = TypeVar("Result")


def images_at_once(images: int) -> int:
    """How many of so many images are computed at the same time, at least 1.

    As many as there are threads, which is what ``OMP_NUM_THREADS`` says, else the number of
    processors.
    """
    return max(1, min(images, _laplacian.threads()))


def map_images(function: Callable[[int], Result], images: Iterable[int]) -> list[Result]:
    """``[function(n) for n in images]``, at the same time.

    Parameters
    ----------
    function : callable
        Of the number of an image; calls for different images touch different data.
    images : iterable of int

    Raises
    ------
    Exception
        What `function` raises for the first image that it fails for.
    """
    numbers = list(images)
    workers = images_at_once(len(numbers))
    if workers == 1:
        return [function(n) for n in numbers]
    return list(_pool(workers, _laplacian.threads() // workers).map(function, numbers))


@cache
def _pool(workers: int, threads: int) -> ThreadPoolExecutor:
    """Threads that stay, each of which computes with so many threads of OpenMP's."""
    return ThreadPoolExecutor(
        workers, "image", initializer=_laplacian.set_threads, initargs=(threads,)
    )
