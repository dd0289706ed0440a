"""What a process loads to matte one photo, which decides how long its user waits."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
from checkout import ROOT

from data_prep.common.assets import fetch

#: Large packages, and parts of ours, that no photo needs.
SUPERFLUOUS = (
    "caffe.io",
    "data_prep.common.landmarks",
    "data_prep.common.parallel",
    "data_prep.datasets.dataset",
    "distributed",
    "dlib",
    "lmdb",
    "matplotlib",
    "multiprocessing",
    "onnxruntime",
    "pi_heif",
    "prototxt.netspec",
    "pymatting",
    "pypardiso",
    "scipy.linalg",
    "scipy.ndimage",
    "scipy.sparse",
    "skimage",
    "tools.evaluation",
    "tools.training",
    "tqdm",
)

PROGRAM = """
import json, sys
from tools import matte
status = matte.main(sys.argv[1:])
modules = sorted(sys.modules)
print(json.dumps([status, modules]), file=sys.stderr)
"""


@pytest.fixture(scope="module")
def modules(tmp_path_factory) -> list[str]:
    """Names of the modules of a process that has matted the astronaut."""
    command = [sys.executable, "-c", PROGRAM, str(fetch("astronaut")), "-o"]
    run = subprocess.run(
        [*command, str(tmp_path_factory.mktemp("out"))],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    status, names = json.loads(run.stderr.splitlines()[-1])
    assert status == 0 and "caffe" in names
    return names


@pytest.mark.parametrize("name", SUPERFLUOUS)
def test_a_photo_is_matted_without(modules, name):
    assert name not in modules
