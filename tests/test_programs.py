"""Programs start as they are documented: without activation, by whichever Python."""

from __future__ import annotations

import ast
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
from checkout import ROOT, clean_environment, system_python

FOLDERS = (".ci", "caffe_layers", "data_prep", "prototxt", "tools")
PROGRAMS = sorted(
    path
    for folder in FOLDERS
    for path in (ROOT / folder).rglob("*")
    if path.suffix in ("", ".py", ".sh") and path.is_file() and path.read_bytes()[:2] == b"#!"
)
PYTHON_PROGRAMS = [path for path in PROGRAMS if path.suffix == ".py"]


# Studies, which are run from anywhere: they read and write below the checkout.
STUDIES = sorted(
    path
    for folder in ("experiments", "benchmarks")
    for path in (ROOT / "tools" / folder).glob("*.py")
)


def name_of(path: Path) -> str:
    return str(path.relative_to(ROOT))


@pytest.mark.parametrize("path", PROGRAMS, ids=name_of)
def test_every_file_with_a_shebang_is_executable(path):
    assert os.access(path, os.X_OK)


@pytest.mark.parametrize("path", PYTHON_PROGRAMS, ids=name_of)
def test_every_program_changes_to_the_environment_of_its_checkout(path, tmp_path):
    """Copied to where there is none, it says so before it imports anything else."""
    (tmp_path / "tools").mkdir()
    copy = shutil.copy(path, tmp_path / "tools")
    shutil.copy(ROOT / "tools/use_venv.py", tmp_path / "tools")
    environment = {k: v for k, v in clean_environment().items() if k != "PYTHONPATH"}
    # -I -S: a Python that has no packages.
    result = subprocess.run(
        [system_python(), "-S", copy], env=environment, capture_output=True, text=True
    )
    assert result.returncode == 1
    assert result.stderr == (
        f"{path.name}: the environment in {tmp_path}/.venv is not complete; run 'make' first.\n"
    )


@pytest.mark.parametrize("how", [["tools/matte.py"], [system_python(), "tools/matte.py"]])
def test_a_program_keeps_its_arguments_folder_and_status(how, tmp_path):
    (tmp_path / "tools").symlink_to(ROOT / "tools")
    result = subprocess.run(
        [*how, "no such photo.jpg"],
        cwd=tmp_path,
        env=clean_environment(),
        capture_output=True,
        text=True,
    )
    assert result.returncode == 1
    assert result.stderr.startswith("matte.py: no such photo.jpg")
    assert "Traceback" not in result.stderr


def test_a_program_leaves_another_environment(tmp_path):
    """One that is active, and has a Python of its own, but none of our packages."""
    subprocess.run([system_python(), "-m", "venv", "--without-pip", tmp_path / "other"], check=True)
    environment = clean_environment()
    environment["PATH"] = f"{tmp_path}/other/bin:{environment['PATH']}"
    environment["VIRTUAL_ENV"] = f"{tmp_path}/other"
    result = subprocess.run(
        [ROOT / "tools/matte.py", "--help"],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
    )
    assert result.returncode == 0, result.stderr
    assert result.stdout.startswith("usage: matte.py")


def test_what_caffe_and_openmp_read_is_set_before_a_program_imports_them():
    names = ("GLOG_minloglevel", "OMP_WAIT_POLICY")
    environment = {k: v for k, v in clean_environment().items() if k not in names}
    # As in a program that is started as a file, which finds the folder's modules.
    program = (
        "import os, sys; sys.path[0] = sys.argv[1]; import use_venv\n"
        f"print(*(os.environ[name] for name in {names}))"
    )
    command = [sys.executable, "-c", program, ROOT / "tools"]
    result = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert result.stdout == "2 passive\n", result.stderr


def test_an_interrupt_ends_a_program_that_is_being_loaded_without_a_word():
    program = "import sys; sys.path[0] = sys.argv[1]; import use_venv; {}"
    command = [sys.executable, "-c", program.format("raise KeyboardInterrupt"), ROOT / "tools"]
    result = subprocess.run(command, env=clean_environment(), capture_output=True, text=True)
    assert result.returncode == -signal.SIGINT and not result.stderr
    command[2] = program.format("raise ValueError('a fault')")  # is told as ever
    result = subprocess.run(command, env=clean_environment(), capture_output=True, text=True)
    assert result.returncode == 1 and result.stderr.endswith("ValueError: a fault\n")


def test_a_python_that_may_not_be_run_is_named(tmp_path):
    (tmp_path / "tools").mkdir()
    copy = shutil.copy(ROOT / "tools/matte.py", tmp_path / "tools")
    shutil.copy(ROOT / "tools/use_venv.py", tmp_path / "tools")
    python = tmp_path / ".venv/bin/python3"
    python.parent.mkdir(parents=True)
    python.write_text("no program")  # and not executable
    result = subprocess.run([system_python(), copy], env=clean_environment(), capture_output=True)
    assert result.returncode == 1
    assert result.stderr.decode() == (
        f"matte.py: {python} could not be started (Permission denied); remove {tmp_path}/.venv and "
        "run 'make' as a user who may read its Python.\n"
    )


def test_standard_output_that_is_closed_takes_no_picture(tmp_path):
    photo = tmp_path / "photo.png"
    cv2.imwrite(str(photo), np.full((80, 80, 3), 255, np.uint8))

    def matted(target):
        command = f"{ROOT}/tools/matte.py photo.png --alpha photo.png --output alpha -o - {target}"
        return subprocess.run(command, shell=True, cwd=tmp_path, capture_output=True, text=True)

    result = matted(">&-")
    assert result.returncode == 1
    assert result.stderr == "matte.py: Standard output is closed; send it to a file.\n"
    result = matted("> alpha.png")
    assert cv2.imread(str(tmp_path / "alpha.png")) is not None, result.stderr


@pytest.mark.parametrize("path", STUDIES, ids=name_of)
def test_a_study_names_no_path_from_the_current_folder(path):
    named = [
        node.args[0].value
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "Path" and node.args
        if isinstance(node.args[0], ast.Constant)
    ]
    assert [each for each in named if not Path(each).is_absolute()] == []
