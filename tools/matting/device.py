"""The processor that nets run on: the CPU, or the GPU that ``--gpu N`` names.

Caffe keeps mode and device by thread, and ends its whole process where a device is not
there.  So a device is asked for first, by a process of its own, and the choice is kept in
the environment, which the worker processes of every program inherit.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
from functools import cache
from types import ModuleType

from data_prep.common.errors import InputError
from data_prep.common.options import integer_from

#: Number of the chosen GPU; absent or empty is the CPU.
VARIABLE = "PORTRAIT_MATTING_GPU"
#: Path of the program ``caffe``, where it is not that of the environment.
PROGRAM = "PORTRAIT_MATTING_CAFFE"


def add_gpu_option(parser: argparse.ArgumentParser) -> None:
    """Let a program take ``--gpu N``; its ``main`` hands the value to `choose_gpu`."""
    parser.add_argument("--gpu", type=integer_from(0), metavar="N", help="run the net on GPU N")


def choose_gpu(gpu: int | None) -> None:
    """Run nets on a GPU from now on, in this process and those that it starts.

    Parameters
    ----------
    gpu : int or None
        None leaves things as they are: the CPU, unless `VARIABLE` is set.

    Raises
    ------
    InputError
        If there is no such GPU, or Caffe is built without CUDA.
    """
    if gpu is None:
        chosen_gpu()
    else:
        _check_gpu(gpu)
        os.environ[VARIABLE] = str(gpu)


def chosen_gpu() -> int | None:
    """The GPU that nets run on, once it has answered; None is the CPU.

    Raises
    ------
    InputError
        As `choose_gpu`.
    """
    text = os.environ.get(VARIABLE, "")
    if not text:
        return None
    if not text.isdecimal():
        raise InputError(f"{VARIABLE}={text} is no number of a GPU; the first is 0.")
    _check_gpu(int(text))
    return int(text)


def enter_device(caffe: ModuleType) -> None:
    """Let pycaffe compute on the chosen GPU, if there is one, in the calling thread.

    Raises
    ------
    InputError
        As `choose_gpu`.
    """
    if (gpu := chosen_gpu()) is not None:
        caffe.set_device(gpu)
        caffe.set_mode_gpu()


def caffe_program() -> str:
    """Path of the program ``caffe``, of this environment if it has one.

    An archive of ``tools/pack_gpu.py`` names its own in `PROGRAM`.

    Raises
    ------
    InputError
        If it is not built.
    """
    if given := os.environ.get(PROGRAM):
        return given
    places = os.pathsep.join([os.path.join(sys.prefix, "bin"), os.environ.get("PATH", "")])
    found = shutil.which("caffe", path=places)
    if found is None:
        raise InputError("The program caffe is not built; run `make` in a clone of this project.")
    return found


@cache
def _check_gpu(gpu: int) -> None:
    """Raise InputError unless a GPU answers."""
    result = subprocess.run(
        [caffe_program(), "device_query", "-gpu", str(gpu)], capture_output=True, text=True
    )
    if result.returncode == 0:
        return
    said = re.search(r"^caffe: there is no GPU \d+ (\(.*\))", result.stderr, re.MULTILINE)
    reason = said[1] if said else f"(`caffe device_query -gpu {gpu}` fails)"
    raise InputError(f"There is no GPU {gpu} {reason}; leave out --gpu to compute on the CPU.")
