"""A folder of files made to break the program: each gets its sentence."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from hostile import refused, tolerated

from data_prep.assets import fetch
from data_prep.errors import InputError
from data_prep.pictures import read_picture
from tools import matte

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
    with open(tmp_path / "stdout", "w+b") as told, open(tmp_path / "stderr", "w+b") as errors:
        process = subprocess.Popen(list(map(str, command)), stdout=told, stderr=errors)
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    stderr = (tmp_path / "stderr").read_text()
    assert process.returncode == 1 and "Traceback" not in stderr
    assert usage.ru_maxrss * 1024 < MOST_MEMORY

    lines = map(json.loads, (tmp_path / "stdout").read_text().splitlines())
    results = {Path(line["photo"]).name: line for line in lines}
    assert set(results) == {*files, "astronaut.png"}
    for name in refused():
        assert results[name]["status"] == "failed"
        assert str(folder / name) in results[name]["message"]
        assert results[name]["message"] in stderr
    assert results["astronaut.png"]["status"] == "done"
    promised = {path for line in results.values() for path in line["files"].values()}
    assert promised == set(map(str, out.iterdir()))
