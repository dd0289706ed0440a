from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import cv2
import pytest
from checkout import ROOT

from data_prep.common.errors import InputError
from data_prep.common.parallel import AHEAD, open_workers


def square_late(number):
    time.sleep(0.02 * (number % 3))
    return number**2


def where(_):
    return os.getpid(), cv2.getNumThreads(), os.environ["OMP_NUM_THREADS"]


def fail(number):
    if number == 3:
        raise InputError("number 3 is bad")
    return number


@pytest.mark.parametrize("workers", [1, 2])
def test_results_come_in_order_and_errors_come_through(workers):
    with open_workers(workers) as ordered_map:
        assert list(ordered_map(square_late, range(12))) == [n**2 for n in range(12)]
        with pytest.raises(InputError, match="number 3 is bad"):
            list(ordered_map(fail, range(6)))
        assert list(ordered_map(abs, [])) == []


def test_workers_are_processes_with_one_thread():
    before = os.environ.get("OMP_NUM_THREADS")
    with open_workers(2) as ordered_map:
        found = set(ordered_map(where, range(8)))
    assert os.getpid() not in {pid for pid, _, _ in found}
    assert {(threads, variable) for _, threads, variable in found} == {(1, "1")}
    assert os.environ.get("OMP_NUM_THREADS") == before


@pytest.mark.parametrize("workers", [1, 2])
def test_few_items_are_taken_ahead(workers):
    taken = 0

    def items():
        nonlocal taken
        for number in range(1000):
            taken += 1
            yield number

    with open_workers(workers) as ordered_map:
        results = ordered_map(abs, items())
        for _ in range(5):
            next(results)
        assert taken <= 5 + AHEAD * workers
        results = None  # the rest is given up


def test_no_workers():
    with pytest.raises(InputError, match="--workers 0"), open_workers(0):
        pass


def test_a_worker_that_dies_is_one_sentence():
    with pytest.raises(InputError, match="worker process died"), open_workers(2) as ordered_map:
        list(ordered_map(os._exit, [3]))


def is_alive(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")")[1].split()[0] != "Z"
    except OSError:
        return False


def test_workers_end_with_a_killed_parent():
    program = (
        "import os, sys\n"
        f"sys.path[:0] = {[str(Path(__file__).parent), str(ROOT / 'tests')]!r}\n"
        "from data_prep.common.parallel import open_workers\n"
        "from test_parallel import where\n"
        "if __name__ == '__main__':\n"
        "    with open_workers(2) as ordered_map:\n"
        "        pids = {pid for pid, _, _ in ordered_map(where, range(6))}\n"
        "        print(*pids, flush=True)\n"
        "        sys.stdin.read()\n"
    )
    parent = subprocess.Popen(
        [sys.executable, "-c", program],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    pids = [int(pid) for pid in parent.stdout.readline().split()]
    assert pids and all(map(is_alive, pids))
    parent.send_signal(signal.SIGKILL)
    parent.communicate()
    deadline = time.monotonic() + 20
    while any(map(is_alive, pids)) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not any(map(is_alive, pids))


def test_dask_that_is_not_installed_is_one_sentence():
    # An empty module stands for the missing one.
    program = (
        "import sys\n"
        "sys.modules['distributed'] = None\n"
        "from data_prep.common.errors import run_program\n"
        "from data_prep.common.parallel import open_workers\n"
        "def program():\n"
        "    with open_workers(1, 'tcp://localhost:1'): pass\n"
        "raise SystemExit(run_program(program))\n"
    )
    ended = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True
    )
    assert ended.returncode == 1
    assert "takes Dask, which is not installed" in ended.stderr
    assert len(ended.stderr.strip().splitlines()) == 1


def test_dask_scheduler_that_does_not_answer():
    pytest.importorskip("distributed")
    with pytest.raises(InputError, match="The scheduler tcp://127.0.0.1:9 does not answer"):
        with open_workers(1, "tcp://127.0.0.1:9"):
            pass


def test_dask_cluster_of_two_processes():
    distributed = pytest.importorskip("distributed")
    with distributed.LocalCluster(
        n_workers=2, threads_per_worker=1, processes=True, dashboard_address=None
    ) as cluster:
        with open_workers(1, cluster.scheduler_address) as ordered_map:
            assert list(ordered_map(abs, range(-20, 0))) == list(range(20, 0, -1))
            with pytest.raises(ZeroDivisionError):
                list(ordered_map(reciprocal, [2, 1, 0]))
            pids = {pid for (pid,) in ordered_map(process, range(20))}
    assert len(pids) == 2 and os.getpid() not in pids


def reciprocal(number):
    return 1 / number


def process(_):
    time.sleep(0.02)
    return (os.getpid(),)
