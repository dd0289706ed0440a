"""A Dask scheduler and its workers, started as their users do."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest


@contextmanager
def running_cluster(folder: Path, workers: int) -> Iterator[tuple[str, list[subprocess.Popen]]]:
    """Address of a scheduler, and its workers of one thread, which run in a folder of their own.

    The test is skipped where Dask is not installed.
    """
    distributed = pytest.importorskip("distributed")
    place = ["--scheduler-file", str(folder / "scheduler.json"), "--no-dashboard"]
    one_worker = ["worker", "--no-nanny", "--nthreads", "1"]
    programs = []
    try:
        with open(folder / "log", "wb") as log:
            for words in (["scheduler", "--port", "0"], *[one_worker] * workers):
                command = [sys.executable, "-m", "dask", *words, *place]
                program = subprocess.Popen(command, cwd=folder, stdout=log, stderr=log)
                programs.append(program)
        scheduler = _address_in(folder / "scheduler.json")
        with distributed.Client(scheduler) as client:
            client.wait_for_workers(workers, timeout=60)
        yield scheduler, programs[1:]
    finally:
        for program in programs:
            program.kill()
            program.wait()


def _address_in(path: Path) -> str:
    """Address of the scheduler that writes a file when it has started."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        try:
            return json.loads(path.read_text())["address"]
        except (FileNotFoundError, ValueError):
            time.sleep(0.1)
    raise TimeoutError(f"no scheduler has written {path}")
