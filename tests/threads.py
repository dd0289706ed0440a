"""Code run with several numbers of OpenMP threads."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from checkout import ROOT

from caffe_layers import _laplacian


def outputs_by_threads(program: str, *counts: int) -> set[str]:
    """What a Python program prints in runs with so many threads: one output if all are alike."""
    return {
        subprocess.run(
            [sys.executable, "-c", program],
            cwd=ROOT,
            check=True,
            capture_output=True,
            text=True,
            env={**os.environ, "OMP_NUM_THREADS": str(count)},
        ).stdout
        for count in counts
    }


@contextmanager
def openmp_threads(count: int) -> Iterator[None]:
    """So many threads for what the calling thread computes."""
    before = _laplacian.threads()
    _laplacian.set_threads(count)
    try:
        yield
    finally:
        _laplacian.set_threads(before)
