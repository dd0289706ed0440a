"""A folder of files made to break the program: each gets its sentence."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from hostile import refused, tolerated

from data_prep.common.assets import fetch
from data_prep.common.errors import InputError
from data_prep.common.pictures import read_picture
from tools import matte

# Runs a command and writes its peak memory in KiB.  A process of its own: a child
# starts with the peak of whoever forks it, and pytest's may be large.
MEASURE = """
import resource, subprocess, sys
status = subprocess.call(sys.argv[2:])
with open(sys.argv[1], "w") as file:
    file.write(str(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss))
sys.exit(status)
"""
MOST_MEMORY = 2 << 30  # bytes


@pytest.fixture(scope="module")
def files() -> dict[str, bytes]:
    return {**refused(), **tolerated()}


def test_there_are_enough(files):
    assert len(files) >= 200


def test_what_has_to_be_refused_is(files):
    for name in refused():
        with pytest.raises(InputError, match=name.replace(".", r"\.")) as caught:
            read_picture(files[name], name)
        assert len(str(caught.value).splitlines()) == 1


def test_folder_of_hostile_files_is_survived(files, tmp_path):
    folder, out = tmp_path / "photos", tmp_path / "out"
    folder.mkdir()
    for name, content in files.items():
        (folder / name).write_bytes(content)
    (folder / "astronaut.png").write_bytes(fetch("astronaut").read_bytes())
    (folder / "folder.jpg").mkdir()
    (folder / "lost.jpg").symlink_to(folder / "nothing")
    os.mkfifo(folder / "pipe.jpg")

    command = [sys.executable, matte.__file__, folder, "-o", out, "--json", "--workers", "1"]
    measured = [sys.executable, "-c", MEASURE, tmp_path / "peak", *command]
    run = subprocess.run(list(map(str, measured)), capture_output=True, text=True)
    assert run.returncode == 1 and "Traceback" not in run.stderr
    assert int((tmp_path / "peak").read_text()) * 1024 < MOST_MEMORY

    lines = map(json.loads, run.stdout.splitlines())
    results = {Path(line["photo"]).name: line for line in lines}
    assert set(results) == {*files, "astronaut.png"}
    for name in refused():
        assert results[name]["status"] == "failed"
        assert str(folder / name) in results[name]["message"]
        assert results[name]["message"] in run.stderr
    assert results["astronaut.png"]["status"] == "done"
    promised = {path for line in results.values() for path in line["files"].values()}
    assert promised == set(map(str, out.glob("[!.]*")))
