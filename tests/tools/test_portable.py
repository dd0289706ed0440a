"""What is carried to a machine without network; a training pass compared on two processors."""

from __future__ import annotations

import argparse
import json
import lzma
import os
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path

import caffe
import numpy as np
import pytest

from data_prep.common.errors import InputError
from prototxt.catalog import FACE_DETECTOR, MULTICLASS, PERSON_MASK, POSE_DETECTOR
from tools import pack_gpu, run_gpu
from tools.matting.caffe_net import read_caffemodel, write_caffemodel
from tools.matting.device import VARIABLE
from tools.matting.models import ROOT
from tools.pack_gpu import contents, files_of_packages, needed_libraries
from tools.portable import comparison
from tools.portable.comparison import TOLERANCE, compare, largest_difference, training_pass
from tools.portable.pieces import (
    PieceWriter,
    half_weights,
    joined,
    pieces_of,
    weights_of_half,
    write_in_pieces,
    write_sums,
)
from tools.run_gpu import STEPS, arguments, run_steps

WEIGHTS = ROOT / "data/weights/portrait.caffemodel"
NET = """
layer { name: "data" type: "DummyData" top: "data" top: "truth" dummy_data_param {
  shape { dim: 2 dim: 3 dim: 9 dim: 8 } shape { dim: 2 dim: 4 dim: 9 dim: 8 }
  data_filler { type: "gaussian" } data_filler { type: "gaussian" } } }
layer { name: "conv" type: "Convolution" bottom: "data" top: "conv" convolution_param {
  num_output: 4 kernel_size: 3 pad: 1 weight_filler { type: "xavier" } } }
layer { name: "drop" type: "Dropout" bottom: "conv" top: "conv" }
layer { name: "loss" type: "EuclideanLoss" bottom: "conv" bottom: "truth" top: "loss" }
"""


@pytest.fixture
def definition(tmp_path):
    path = tmp_path / "net/train_val.prototxt"
    path.parent.mkdir()
    path.write_text(NET)
    return path


@pytest.mark.parametrize("size", [1, 7, 100, 101, 1000])
def test_pieces_are_of_the_size_asked_for_and_join_to_the_file(tmp_path, size):
    content = np.random.default_rng(0).bytes(101)
    write_in_pieces(tmp_path / "file", bytes(5000), 9)  # longer ones of an earlier time
    pieces = write_in_pieces(tmp_path / "file", content, size)
    assert pieces == pieces_of(tmp_path / "file")
    assert [piece.stat().st_size for piece in pieces[:-1]] == [size] * (len(pieces) - 1)
    assert joined(pieces) == content


@pytest.fixture
def archive(tmp_path):
    """An archive of more parts than two digits count, whose run_gpu.sh says its options."""
    content = tmp_path / "content"
    content.mkdir()
    (content / "noise").write_bytes(np.random.default_rng(0).bytes(12_000))
    (content / "run_gpu.sh").write_text('#!/bin/sh\necho "started with $* in $PWD"\n')
    (content / "run_gpu.sh").chmod(0o755)
    folder = tmp_path / "carried"
    with (
        PieceWriter(folder / "portrait-matting.tar.xz", 100) as parts,
        lzma.open(parts, "wb") as compressed,
        tarfile.open(fileobj=compressed, mode="w|") as packed,
    ):
        packed.add(content, "portrait-matting")
    assert len(parts.pieces) > 101
    write_sums(folder / "portrait-matting.sha256", parts.pieces)
    shutil.copy2(ROOT / "tools/run_gpu.sh", folder)
    return folder


def started(archive, folder=None):
    return subprocess.run(
        [archive / "run_gpu.sh", "--train", "lite"],
        cwd=folder,
        env={"PATH": "/usr/bin:/bin", "PYTHON": sys.executable},
        capture_output=True,
        text=True,
    )


def test_an_archive_unpacks_itself_once_and_starts(archive, tmp_path):
    assert started(archive, tmp_path).stdout == f"started with --train lite in {tmp_path}\n"
    unpacked = archive / "portrait-matting"
    assert (unpacked / "noise").read_bytes() == (tmp_path / "content/noise").read_bytes()
    (unpacked / "noise").unlink()
    assert started(archive).returncode == 0 and not (unpacked / "noise").exists()
    (unpacked / "UNPACKED").unlink()  # as if it had been killed before it was whole
    assert started(archive).returncode == 0 and (unpacked / "noise").exists()


def test_a_damaged_or_missing_part_is_named_and_nothing_is_unpacked(archive):
    first, second, *_ = pieces_of(archive / "portrait-matting.tar.xz")
    first.write_bytes(first.read_bytes()[::-1])
    second.unlink()
    result = started(archive)
    assert result.returncode == 1
    assert first.name in result.stdout + result.stderr
    assert second.name in result.stdout + result.stderr
    assert "copy them again" in result.stderr
    assert not (archive / "portrait-matting").exists()


def test_what_is_unpacked_is_run_in_the_folder_of_the_user(tmp_path):
    home, folder = tmp_path / "home", tmp_path / "elsewhere"
    for place, program in ((home, "import os; print(os.getcwd())"), (folder, "print('theirs')")):
        (place / "tools").mkdir(parents=True)
        (place / "tools/__init__.py").touch()
        (place / "tools/run_gpu.py").write_text(program)
    (home / "caffe").mkdir()
    (home / "caffe/PYTHON").write_text(".".join(map(str, sys.version_info[:2])))
    shutil.copy2(ROOT / "tools/run_gpu.sh", home)
    assert started(home, folder).stdout == f"{folder}\n"


def test_pieces_of_no_size_are_refused(tmp_path):
    with pytest.raises(InputError, match="A piece of 0 bytes"):
        PieceWriter(tmp_path / "file", 0)


def test_weights_keep_float16_precision_and_their_layers(tmp_path):
    half = half_weights(WEIGHTS)
    assert len(half) < 0.6 * WEIGHTS.stat().st_size
    write_caffemodel(tmp_path / "net.caffemodel", weights_of_half(half))
    before, after = read_caffemodel(WEIGHTS), read_caffemodel(tmp_path / "net.caffemodel")
    assert before.keys() == after.keys()
    for layer, blobs in before.items():
        for blob, other in zip(blobs, after[layer], strict=True):
            assert blob.shape == other.shape
            np.testing.assert_allclose(other, blob, rtol=2.0**-11, atol=6e-8)


def test_bytes_that_are_no_weights_are_refused():
    with pytest.raises(InputError, match="no weights in float16"):
        weights_of_half(b"something else")


def test_a_training_pass_has_all_gradients_and_nothing_random(definition, tmp_path):
    found = training_pass(definition, None, tmp_path, on_gpu=True)
    assert found.keys() == {"output loss", "gradient conv/0", "gradient conv/1"}
    assert all(np.abs(array).max() > 0 for array in found.values())


def test_the_cpu_compared_with_itself_is_the_same(definition, tmp_path, monkeypatch):
    monkeypatch.delenv(VARIABLE, raising=False)
    report = compare(definition, None, tmp_path)
    assert report == {"difference": 0.0, "where": "", "arrays": 3, "within": True}


@pytest.mark.parametrize("error, within", [(0.5 * TOLERANCE, True), (2 * TOLERANCE, False)])
def test_the_pass_of_the_gpu_is_held_against_that_of_the_cpu(
    definition, tmp_path, monkeypatch, error, within
):
    """Whatever machine this is: the pass of its GPU is that of the CPU with an error."""

    def one_pass(*arguments, on_gpu):
        found = training_pass(*arguments, on_gpu=False)
        if on_gpu:
            found["gradient conv/0"] *= 1 + error
        return found

    monkeypatch.setattr(comparison, "training_pass", one_pass)
    report = compare(definition, None, tmp_path)
    assert report["difference"] == pytest.approx(error, rel=0.01)
    assert (report["where"], report["within"]) == ("gradient conv/0", within)


def test_weights_that_are_given_are_used(definition, tmp_path):
    weights = {"conv": [np.zeros((4, 3, 3, 3), np.float32), np.ones(4, np.float32)]}
    drawn, given = (
        training_pass(definition, each, tmp_path, on_gpu=False) for each in (None, weights)
    )
    assert largest_difference(drawn, given)[0] > 0.1


def test_databases_that_are_not_there_are_named(definition, tmp_path):
    source = '  data_param { source: "data/prepared/train_image" backend: LMDB } }'
    definition.write_text(f'layer {{ name: "data" type: "Data" top: "data"\n{source}')
    with pytest.raises(InputError, match=f"{tmp_path}/absent/train_image"):
        training_pass(definition, None, tmp_path / "absent", on_gpu=False)


def test_the_difference_is_relative_to_the_largest_value_of_its_array():
    theirs = {"a": np.array([100.0, 1.0]), "b": np.array([0.01])}
    ours = {"a": np.array([100.0, 2.0]), "b": np.array([0.0101])}
    assert largest_difference(ours, theirs) == (pytest.approx(0.01), "a")


@pytest.mark.parametrize("name", ["a", "b", "c"])
def test_nan_is_the_worst_difference_wherever_it_is(name):
    theirs = {each: np.ones(2) for each in "abc"}
    ours = {**theirs, "b": np.full(2, 9.0)} | {name: np.array([1.0, np.nan])}
    difference, where = largest_difference(ours, theirs)
    assert np.isnan(difference) and where == name
    assert np.isnan(largest_difference(theirs, ours)[0])  # of the CPU, too


def test_libraries_of_caffe_are_taken_and_those_of_every_system_are_not():
    module = Path(caffe.__path__[0], "_caffe.so")
    names = needed_libraries([module], nvidia=False)
    assert any(name.startswith("libcaffe.so") for name in names)
    assert any(name.startswith("libboost_python") for name in names)
    for absent in ("libc.so", "libm.so", "libstdc++.so", "libcuda", "libcublas"):
        assert not any(name.startswith(absent) for name in names)
    assert all(path.is_file() for path in names.values())


def test_a_package_is_taken_with_its_files_or_named():
    places = dict(files_of_packages(["six"]))
    assert places["packages/six.py"] == Path(sys.modules["six"].__file__)
    with pytest.raises(InputError, match="surely-absent is not installed"):
        list(files_of_packages(["surely-absent"]))


def done_steps(options, folder):
    """A report in whose view every step was done with these options."""
    done = {}
    for name, _, depends in STEPS:
        asked = {each: getattr(options, each) for each in depends}
        done[name] = {"options": json.loads(json.dumps(asked, default=str)), "result": {"kept": 1}}
    report = {"machine": {"gpu": None}, "steps": done}
    (folder / "report.json").write_text(json.dumps(report))
    return report


def test_steps_that_are_done_are_not_done_again_unless_their_options_change(tmp_path):
    options = arguments().parse_args(["--compare", "--time", "--out", str(tmp_path)])
    before = done_steps(options, tmp_path)
    assert run_steps(options) == before
    done = before["steps"]
    done["compare"]["options"]["compare"] = ["lite"]  # and now none
    done["caffe_tests"]["result"] = {"ok": False}  # failed: done again
    (tmp_path / "report.json").write_text(json.dumps(before))
    steps = run_steps(options)["steps"]
    assert json.loads((tmp_path / "report.json").read_text())["steps"] == steps
    again = {name for name, step in steps.items() if "kept" not in step["result"]}
    assert again == {"compare", "caffe_tests"}
    assert steps["compare"]["result"] == {"nets": {}, "ok": True}


def test_a_step_that_fails_is_reported_and_the_next_ones_are_not_held_up(tmp_path):
    wanted = ["--compare", "lite", "--out", str(tmp_path), "--prepared", str(tmp_path / "absent")]
    options = arguments().parse_args(wanted)
    done_steps(options, tmp_path)
    options.compare = ["lite", "portrait"]
    options.time = []
    steps = run_steps(options)["steps"]
    assert steps["compare"]["result"]["ok"] is False
    assert str(tmp_path / "absent") in steps["compare"]["result"]["error"]
    assert steps["time"]["result"] == {"milliseconds": {}}


@pytest.mark.parametrize("error", [OSError(28, "disk full"), RuntimeError("of a library")])
def test_a_fault_that_nobody_expects_holds_up_no_other_step(tmp_path, monkeypatch, error):
    def fails(_options):
        raise error

    steps = ("bad", fails, ()), ("good", lambda _options: {"ok": True}, ())
    monkeypatch.setattr(run_gpu, "STEPS", steps)
    found = run_steps(arguments().parse_args(["--out", str(tmp_path)]))["steps"]
    assert found["bad"]["result"]["ok"] is False
    assert str(error) in found["bad"]["result"]["error"]
    assert "in fails" in found["bad"]["result"]["traceback"]
    assert found["good"]["result"] == {"ok": True}


def test_paths_are_those_of_the_folder_that_the_program_is_run_in(tmp_path, monkeypatch):
    monkeypatch.setattr(run_gpu, "run_steps", lambda _options: {"steps": {}})
    monkeypatch.chdir(tmp_path)
    assert run_gpu.main(["--out", "results"]) == 0
    assert Path.cwd() == ROOT and (tmp_path / "results").is_dir()
    inside = arguments().parse_args(["--prepared", "data/prepared", "--dataset", "tests/../data"])
    assert (inside.prepared, inside.dataset) == (Path("data/prepared"), Path("data"))


def test_beside_the_archive_lies_what_unpacks_it_whole_at_any_time(tmp_path, monkeypatch):
    monkeypatch.setattr(pack_gpu, "contents", lambda _options: [("note", b"text")])
    (tmp_path / "run_gpu.sh").write_text("of an earlier archive")
    os.link(tmp_path / "run_gpu.sh", tmp_path / "earlier")
    pack_gpu.pack(argparse.Namespace(out=tmp_path, part_megabytes=1, preset=0))
    assert (tmp_path / "earlier").read_text() == "of an earlier archive"  # replaced at once
    assert (tmp_path / "run_gpu.sh").read_bytes() == (ROOT / "tools/run_gpu.sh").read_bytes()
    assert os.access(tmp_path / "run_gpu.sh", os.X_OK)


def test_the_nets_that_opencv_runs_for_a_photo_are_in_the_archive(tmp_path):
    options = argparse.Namespace(
        caffe=Path(sys.prefix) / "opt/caffe",
        tests=None,
        nvidia=False,
        packages=(),
        assets=(),
        weights=(),
        prepared=tmp_path,
        dataset=tmp_path,
    )
    places = dict(contents(options))
    for net in (FACE_DETECTOR, *MULTICLASS.values(), POSE_DETECTOR, PERSON_MASK):
        for path in (net.deploy, net.weights):
            assert places[str(path.relative_to(ROOT))].is_file()
