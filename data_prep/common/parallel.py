"""The same function on many items: worker processes or a cluster, results in order."""

from __future__ import annotations

import multiprocessing
import os
import pickle
import tempfile
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import CancelledError, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from functools import lru_cache, partial
from itertools import count, islice
from pathlib import Path
from typing import Any, Protocol, TypeVar

import cv2

from data_prep.common.errors import InputError

Item = TypeVar("Item")
Result = TypeVar("Result")


class OrderedMap(Protocol):
    """A `map` that may work in several processes, as `open_workers` gives it."""

    def __call__(
        self, function: Callable[[Item], Result], items: Iterable[Item], /
    ) -> Iterator[Result]:
        """Results of a function, in the order of the items.

        Parameters
        ----------
        function : callable
            At the top level of a module, so that it can be sent to a worker.
        items : iterable
        """


# Results that wait for the consumer, and items that wait for a worker: enough
# that nobody idles, few enough for the memory.
AHEAD = 3  # tasks a worker
SCHEDULER_TIMEOUT = 5  # seconds

#: Functions of more bytes than this are sent once to each worker of a cluster, not with each item.
LARGE_FUNCTION = 1 << 16

THREAD_VARIABLES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


def available_workers() -> int:
    """Processors this process may use."""
    return len(os.sched_getaffinity(0))


def _in_order(submit: Callable[..., Any], ahead: int, items: Iterable[Item]) -> Iterator[Result]:
    """Results of the futures of all items, `ahead` of them at a time.

    The first ones start with the call, not when the first result is asked for.
    """
    items = iter(items)
    pending = deque(map(submit, islice(items, ahead)))

    def results() -> Iterator[Result]:
        try:
            while pending:
                result = pending.popleft().result()
                pending.extend(map(submit, islice(items, 1)))
                yield result
        finally:
            for future in pending:
                future.cancel()

    return results()


@contextmanager
def _opencv_threads(threads: int) -> Iterator[None]:
    before = cv2.getNumThreads()
    cv2.setNumThreads(threads)
    try:
        yield
    finally:
        cv2.setNumThreads(before)


@contextmanager
def _environment(**variables: str) -> Iterator[None]:
    """Environment variables for processes that start inside the block."""
    before = {name: os.environ.get(name) for name in variables}
    os.environ.update(variables)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _start_worker(threads: int) -> None:
    cv2.setNumThreads(threads)
    # A killed parent cannot tell a worker that waits for a task to stop.
    threading.Thread(target=_end_with_parent, daemon=True).start()


@lru_cache(maxsize=4)
def _load(path: str) -> Callable[[Any], Any]:
    return pickle.loads(Path(path).read_bytes())


def _call(path: str, item: Any) -> Any:
    """Apply the function that a file holds: each worker reads it once."""
    return _load(path)(item)


@contextmanager
def _local_processes(workers: int, threads: int) -> Iterator[OrderedMap]:
    # spawn: OpenMP and MKL, in use here, may hang after a fork.
    pool = ProcessPoolExecutor(
        workers,
        mp_context=multiprocessing.get_context("spawn"),
        initializer=_start_worker,
        initargs=(threads,),
    )
    folder = tempfile.TemporaryDirectory()
    numbers = count()

    def ordered_map(function: Callable[[Item], Result], items: Iterable[Item]) -> Iterator[Result]:
        # Not with every item: some functions hold a large array.
        path = Path(folder.name, str(next(numbers)))
        path.write_bytes(pickle.dumps(function))
        return _in_order(lambda item: pool.submit(_call, str(path), item), AHEAD * workers, items)

    try:
        # BLAS reads its number of threads when it is loaded.
        with _environment(**dict.fromkeys(THREAD_VARIABLES, str(threads))):
            yield ordered_map
    except BrokenProcessPool:
        raise InputError(
            "A worker process died, perhaps because memory ran out; run the command again "
            "with fewer --workers."
        ) from None
    finally:
        pool.shutdown(cancel_futures=True)
        folder.cleanup()


def _apply(function: Callable[[Item], Result], item: Item) -> Result:
    cv2.setNumThreads(1)  # here, as workers may come later or be started again
    return function(item)


@contextmanager
def _dask_cluster(scheduler: str) -> Iterator[OrderedMap]:
    try:
        from distributed import Client, KilledWorker
    except ImportError:
        raise InputError(
            f"The scheduler {scheduler} takes Dask, which is not installed; "
            "run `pip install distributed` in this environment and in the cluster's."
        ) from None
    try:
        client = Client(scheduler, timeout=SCHEDULER_TIMEOUT)
    except (OSError, ValueError) as error:
        raise InputError(
            f"The scheduler {scheduler} does not answer ({error}); start it with "
            "`dask scheduler` and give its address, as in tcp://host:8786."
        ) from None
    with client:
        threads = sum(client.nthreads().values())
        if threads == 0:
            raise InputError(
                f"The scheduler {scheduler} has no workers; start some with "
                f"`dask worker {scheduler}`."
            )

        def ordered_map(
            function: Callable[[Item], Result], items: Iterable[Item]
        ) -> Iterator[Result]:
            # Neither is hashed: equal items may come again.  A small function goes with each
            # item, so that workers that come later have it too, and none is missed.
            sent = function
            if len(pickle.dumps(function)) > LARGE_FUNCTION:
                sent = client.scatter(function, broadcast=True, hash=False)
            submit = partial(client.submit, _apply, sent, pure=False)
            return _in_order(submit, AHEAD * threads, items)

        try:
            yield ordered_map
        except (KilledWorker, CancelledError) as error:
            raise InputError(
                f"Workers of the scheduler {scheduler} died ({error}); give them more memory "
                "and run the command again."
            ) from None


@contextmanager
def open_workers(
    workers: int, scheduler: str | None = None, threads: int = 1
) -> Iterator[OrderedMap]:
    """A `map` that works in parallel and gives results in the order of the items.

    Only a few items are in progress or wait for the consumer at any time, so endless
    collections fit into the memory.  Workers begin with the call; without workers
    each item is done when its result is asked for.  Where the work is done changes
    no result.

    Parameters
    ----------
    workers : int
        Processes on this machine; 1: everything in this process.
    scheduler : str, optional
        Address of a Dask scheduler, which then does the work instead.  Its
        workers need this package and the files under the same paths.  What a worker that
        dies had to do is done by another.
    threads : int
        Of each process on this machine.

    Raises
    ------
    InputError
        If `workers` is not positive, Dask is not installed, the scheduler does
        not answer or has no workers, or a worker died.
    """
    if workers < 1:
        raise InputError(f"--workers {workers} is too few; give 1 or more.")
    if scheduler is not None:
        where = _dask_cluster(scheduler)
    elif workers > 1:
        where = _local_processes(workers, threads)
    else:
        with _opencv_threads(threads):
            yield map
        return
    with where as ordered_map:
        yield ordered_map


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
        As `open_workers`.
    """
    with open_workers(min(workers, max(1, len(items)))) as ordered_map:
        yield from ordered_map(function, items)
