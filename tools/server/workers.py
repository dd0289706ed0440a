"""Processes that hold a loaded model each and do one job at a time.

Processes, not threads: a Caffe net serves one caller, Caffe aborts its whole
process on a failed check, and a computation that takes too long can only be
ended from outside.  Every worker has a pipe of its own, so an answer cannot
reach another job's caller.
"""

from __future__ import annotations

import logging
import multiprocessing
import signal
from concurrent.futures import Future, ThreadPoolExecutor
from multiprocessing.connection import Connection
from queue import SimpleQueue

from data_prep.common.errors import InputError
from tools.matting.models import MODELS
from tools.matting.segmenter_settings import SegmenterSettings
from tools.server.requests import Answer, Job, Refusal, perform

logger = logging.getLogger(__name__)

LOADING_SECONDS = 120  # a cold disk; more means that something hangs


def work(connection: Connection, model: str | SegmenterSettings) -> None:
    """Load a model, then do jobs until the other end of the pipe closes.

    Sends None (ready) or an `InputError` first, then an `Answer` or a
    `Refusal` for every `Job`.
    """
    # Ctrl-C reaches the whole process group; jobs that run may end.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    import numpy as np

    # They load OpenCV and Caffe, which the parent has no use for.
    from tools.matting.segmenter import Segmenter
    from tools.matting.session import MattingSession

    try:
        if isinstance(model, SegmenterSettings):
            session = MattingSession(Segmenter(model))
        elif model in MODELS:
            session = MattingSession(model)
        else:
            raise InputError(f"There is no model {model}; it is one of {', '.join(MODELS)}.")
        # The first photo loads and compiles what the others find ready.
        session.matte(np.zeros((64, 64, 3), np.uint8)).foreground  # noqa: B018
    except InputError as error:
        connection.send(error)
        return
    connection.send(None)
    while True:
        try:
            job = connection.recv()
        except EOFError:
            return
        try:
            outcome = perform(job, session)
        except Refusal as refusal:
            outcome = refusal
        except Exception:
            logger.exception("A photo failed.")
            outcome = Refusal(500, "The program failed on this photo; its log has the details.")
        try:
            connection.send(outcome)
        except BrokenPipeError:
            return


class Worker:
    """One process, its pipe, and the right to end it."""

    def __init__(self, model: str | SegmenterSettings) -> None:
        # Not forked: the parent runs threads.
        context = multiprocessing.get_context("spawn")
        self._connection, theirs = context.Pipe()
        self._process = context.Process(target=work, args=(theirs, model), daemon=True)
        self._process.start()
        theirs.close()  # so that its death closes the pipe
        self._ready = False

    def wait_ready(self) -> None:
        """Wait for the model to be loaded.

        Raises
        ------
        InputError
            If a file of the model is missing or damaged.
        EOFError, TimeoutError
            If the process died, or loads for longer than `LOADING_SECONDS`.
        """
        if not self._ready:
            problem = self._receive(LOADING_SECONDS)
            if problem is not None:
                raise problem
            self._ready = True

    def ask(self, job: Job, seconds: float) -> Answer | Refusal:
        """Have one job done.

        Raises
        ------
        EOFError, OSError
            If the process died.
        TimeoutError
            If it takes longer than `seconds`; the worker is unusable then.
        """
        self._connection.send(job)
        return self._receive(seconds)

    def _receive(self, seconds: float) -> object:
        if not self._connection.poll(seconds):
            raise TimeoutError
        return self._connection.recv()

    def has_ended(self) -> bool:
        """Whether the process died between two jobs: the pipe is then at end of file."""
        return self._ready and self._connection.poll()

    def kill(self) -> None:
        """End the process, whatever it does."""
        self._process.kill()
        self._process.join()
        self._connection.close()


class Workers:
    """A fixed number of workers and the queue in front of them.

    Parameters
    ----------
    model : str or SegmenterSettings
    count : int
    seconds : float
        Longest time for one job; its worker is replaced then.

    Raises
    ------
    InputError
        If the model cannot be loaded.
    """

    def __init__(self, model: str | SegmenterSettings, count: int, seconds: float) -> None:
        self._model = model
        self._seconds = seconds
        self._threads = ThreadPoolExecutor(count, thread_name_prefix="worker")
        self._idle: SimpleQueue[Worker] = SimpleQueue()
        workers = [Worker(model) for _ in range(count)]
        for worker in workers:
            try:
                worker.wait_ready()
            except (EOFError, TimeoutError) as error:
                name = model if isinstance(model, str) else model.path
                raise InputError(
                    f"The model {name} could not be loaded (its process "
                    f"{'died' if isinstance(error, EOFError) else 'hangs'}); "
                    "try `tools/matte.py` on one photo."
                ) from error
            self._idle.put(worker)

    def submit(self, job: Job) -> Future[Answer]:
        """Queue a job; the future holds its answer or raises `Refusal`.

        Cancelling the future works as long as the job waits.
        """
        return self._threads.submit(self._run, job)

    def close(self) -> None:
        """Drop the jobs that wait, finish those that run, end the workers."""
        self._threads.shutdown(cancel_futures=True)
        while not self._idle.empty():
            self._idle.get().kill()

    def _run(self, job: Job) -> Answer:
        worker = self._idle.get()  # as many threads as workers: never waits
        try:
            if worker.has_ended():
                worker = self._replaced(worker)
            worker.wait_ready()
            outcome = worker.ask(job, self._seconds)
        except TimeoutError:
            worker = self._replaced(worker)
            raise Refusal(
                504,
                f"The photo took longer than {self._seconds:g} seconds; make it smaller.",
            ) from None
        except (EOFError, OSError, InputError) as error:
            logger.warning("A worker ended: %r; another one starts.", error)
            worker = self._replaced(worker)
            raise Refusal(
                500, "The program that mattes ended on this photo; make it smaller or try another."
            ) from None
        finally:
            self._idle.put(worker)
        if isinstance(outcome, Refusal):
            raise outcome
        return outcome

    def _replaced(self, worker: Worker) -> Worker:
        worker.kill()
        return Worker(self._model)
