"""The Makefile: its help, its variables, and what a fresh clone gets."""

from __future__ import annotations

import os
import re
import subprocess
import tempfile
from pathlib import Path

import pytest
from checkout import ROOT, clean_environment, scratch_checkout

MAKEFILE = (ROOT / "Makefile").read_text()
PHONY = re.search(r"^\.PHONY:((?:.*\\\n)*.*)", MAKEFILE, re.MULTILINE)
TARGETS = PHONY[1].replace("\\", "").split()


def make(*arguments, folder=ROOT, **options):
    return subprocess.run(
        ["make", *arguments],
        cwd=folder,
        env=clean_environment(),
        capture_output=True,
        text=True,
        **options,
    )


def test_help_lists_every_target_and_what_it_costs():
    listed = re.findall(r"^make (\S+) +\S.*\n +costs: (.*)$", make("help").stdout, re.MULTILINE)
    assert sorted(name for name, _ in listed) == sorted(TARGETS)
    assert all(re.search(r"second|minute|hour|night|day|nothing", cost) for _, cost in listed)


@pytest.mark.parametrize("target", TARGETS)
def test_no_target_uses_an_undefined_variable(target):
    result = make("-n", "--warn-undefined-variables", target)
    assert result.returncode == 0, result.stderr
    assert "warning" not in result.stderr


def test_set_up_of_a_fresh_clone_writes_databases_and_makes_the_snapshot_folder(tmp_path):
    scratch_checkout(tmp_path)
    (tmp_path / ".venv").unlink()
    (tmp_path / "data/models").unlink()
    printed = make("-n", "setup", folder=tmp_path).stdout
    assert "-m data_prep.prepare --dataset 'data/sample' " in printed.replace("\\\n", "")
    assert re.search(r"^mkdir -p snapshots$", printed, re.MULTILINE)
    assert "-m tools.init_weights fcn8s" in printed and "-m tools.convert_selfie" in printed


def test_set_up_expands_the_nets_that_ship_with_8_bits_once(tmp_path):
    scratch_checkout(tmp_path)
    for name in ("weights", "models"):
        (tmp_path / "data" / name).unlink()
        (tmp_path / "data" / name).mkdir()
    assert "quantize_weights" not in make("-n", "setup", folder=tmp_path).stdout
    (tmp_path / "data/weights/lite.int8.npz").touch()
    printed = make("-n", "setup", folder=tmp_path).stdout
    assert re.search(r"-m tools.quantize_weights expand lite$", printed, re.MULTILINE)
    (tmp_path / "data/models/lite.caffemodel").touch()
    assert "quantize_weights" not in make("-n", "setup", folder=tmp_path).stdout


def test_databases_are_written_again_only_where_they_are_not_complete(tmp_path):
    scratch_checkout(tmp_path)
    manifest = tmp_path / "data/prepared/manifest.json"
    manifest.parent.mkdir()
    assert "data_prep.prepare" in make("-n", "setup", folder=tmp_path).stdout
    manifest.touch()
    assert "data_prep.prepare" not in make("-n", "setup", folder=tmp_path).stdout


@pytest.mark.parametrize("name", ["with spaces", "it's", "$HOME"])
def test_a_dataset_may_have_any_name(name):
    printed = make("-n", "data", f"DATASET={name.replace('$', '$$')}").stdout
    (line,) = (
        line for line in printed.replace("\\\n", "").splitlines() if "data_prep.prepare" in line
    )
    line = line.replace(".venv/bin/python3", "printf '%s\\n'")
    words = subprocess.run(["bash", "-c", line], capture_output=True, text=True).stdout
    assert words.splitlines()[2:4] == ["--dataset", name]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give root up")
def test_without_root_one_line_says_what_to_install():
    with tempfile.TemporaryDirectory() as folder:
        os.chmod(folder, 0o777)
        Path(folder, "Makefile").write_text(MAKEFILE)
        result = make(
            "--silent",
            ".venv/stamps/system",
            "DEBIAN_PACKAGES=g++ surely-absent",
            folder=folder,
            user=65534,
        )
        assert not Path(folder, ".venv/stamps/system").exists()
    assert result.returncode != 0
    first, command = result.stdout.splitlines()
    assert first == "System packages are missing. Run this, then 'make' again:"
    assert re.fullmatch(r"  sudo apt-get install -y [-\w ]*surely-absent", command)
