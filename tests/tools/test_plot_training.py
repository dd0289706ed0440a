"""The plot of a training, from logs that the real Caffe wrote."""

import csv
import json
import math
import os
import subprocess
import sys
from pathlib import Path

import cv2
import pytest

from data_prep.common.errors import InputError
from tools import plot_training
from tools.training import caffe_log, plots

NET = """
name: "tiny"
layer {
  name: "data" type: "DummyData" top: "data" top: "truth"
  dummy_data_param {
    shape { dim: 4 dim: 3 } shape { dim: 4 dim: 2 }
    data_filler { type: "gaussian" } data_filler { type: "constant" value: 1 }
  }
}
layer {
  name: "ip" type: "InnerProduct" bottom: "data" top: "ip"
  inner_product_param { num_output: 2 weight_filler { type: "xavier" } }
}
layer { name: "loss" type: "EuclideanLoss" bottom: "ip" bottom: "truth" top: "loss" }
layer { name: "mean" type: "Reduction" bottom: "ip" top: "mean"
        reduction_param { operation: MEAN } include { phase: TEST } }
"""
SOLVER = """
net: "net.prototxt"
base_lr: 0.01 lr_policy: "step" gamma: 0.5 stepsize: 20
max_iter: 40 display: 5 test_iter: 2 test_interval: 20
snapshot: 20 snapshot_prefix: "snap" solver_mode: CPU random_seed: 7
"""


def caffe_train(folder: Path, *options: str) -> str:
    """What `caffe train` writes on the tiny net."""
    command = [Path(sys.prefix) / "bin" / "caffe", "train", "-solver", "solver.prototxt"]
    # Modules that import caffe quietly leave this in the environment of the suite.
    loud = {key: value for key, value in os.environ.items() if key != "GLOG_minloglevel"}
    run = subprocess.run([*command, *options], cwd=folder, capture_output=True, text=True, env=loud)
    assert run.returncode == 0, run.stderr
    return run.stderr


@pytest.fixture(scope="module")
def logs(tmp_path_factory) -> tuple[Path, Path]:
    """A training of 40 iterations and one that resumes from its iteration 20."""
    folder = tmp_path_factory.mktemp("training")
    (folder / "net.prototxt").write_text(NET)
    (folder / "solver.prototxt").write_text(SOLVER)
    first, second = folder / "first.log", folder / "second.log"
    first.write_text(caffe_train(folder))
    second.write_text(caffe_train(folder, "-snapshot", "snap_iter_20.solverstate"))
    return first, second


def with_matting_lines(log: Path, target: Path) -> Path:
    """The log with a line of the matting layer before each displayed iteration."""
    lines = []
    for line in log.read_text().splitlines():
        if "iters), loss" in line:
            number = sum("[matting]" in written for written in lines)
            lines.append(f"[matting] lambda={100 - number} certain=0.25 band={number}e-05")
        lines.append(line)
    target.write_text("\n".join(lines))
    return target


def test_series_of_a_real_log(logs):
    (stage,) = caffe_log.read_logs(logs[:1])
    every_fifth = list(range(0, 40, 5))
    assert list(stage.series["loss"]) == [*every_fifth, 40]
    assert list(stage.series["train/loss"]) == every_fifth
    assert stage.series["lr"] == {i: 0.01 if i < 20 else 0.005 for i in every_fifth}
    assert list(stage.series["test/loss"]) == [0, 20, 40]
    assert stage.losses == {"train/loss", "test/loss"}
    assert list(stage.series["test/mean"]) == [0, 20, 40]
    # The numbers are the log's: each is found in it, in its line.
    text = logs[0].read_text()
    for iteration, value in stage.series["test/loss"].items():
        after = text.split(f"Iteration {iteration}, Testing net")[1]
        assert after.split("Test net output #0: loss = ")[1].split()[0] == f"{value:g}"


def test_a_resumed_log_replaces_what_follows_its_snapshot(logs):
    (stage,) = caffe_log.read_logs(logs)
    (first,), (second,) = (caffe_log.read_logs([log]) for log in logs)
    for name in ("loss", "train/loss", "test/loss", "lr"):
        kept = {i: v for i, v in first.series[name].items() if i < 20}
        assert stage.series[name] == kept | second.series[name]
    assert min(second.series["loss"]) == 20 and stage.last_iteration() == 40


def test_a_new_training_is_a_stage_of_its_own(logs):
    stages = caffe_log.read_logs([logs[0], logs[0], logs[1]])
    assert len(stages) == 2
    assert stages[0].series == caffe_log.read_logs(logs[:1])[0].series
    assert stages[1].series == caffe_log.read_logs(logs)[0].series


def test_one_file_may_hold_several_runs(logs, tmp_path):
    joined = tmp_path / "joined.log"
    joined.write_text(logs[0].read_text() + logs[1].read_text())
    assert caffe_log.read_logs([joined]) == caffe_log.read_logs(logs)


def test_matting_lines_belong_to_the_iteration_displayed_next(logs, tmp_path):
    log = with_matting_lines(logs[0], tmp_path / "matting.log")
    (stage,) = caffe_log.read_logs([log])
    assert stage.series["matting/lambda"] == {5 * k: 100.0 - k for k in range(8)}
    assert stage.series["matting/band"] == {5 * k: pytest.approx(k * 1e-5) for k in range(8)}
    assert set(stage.series["matting/certain"].values()) == {0.25}


def test_loss_that_is_no_number_is_kept():
    lines = ["I1123 x.cpp:1] Iteration 3 (2 iter/s, 1s/2 iters), loss = -nan"]
    stages = []
    assert caffe_log.parse_log(lines, stages) == 1
    assert math.isnan(stages[0].series["loss"][3])


def test_program_writes_picture_and_numbers(logs, tmp_path):
    log = with_matting_lines(logs[0], tmp_path / "matting.log")
    out = tmp_path / "new" / "training.png"
    program = Path(plot_training.__file__)
    environment = os.environ | {"PATH": f"{sys.prefix}/bin:{os.environ['PATH']}"}
    run = subprocess.run(
        [program, log, logs[1], "-o", out], capture_output=True, text=True, env=environment
    )
    assert run.returncode == 0, run.stderr
    picture = cv2.imread(str(out))
    assert picture.min() == 0 and picture.shape[0] > 900  # four panels
    with open(out.with_suffix(".csv"), newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert [int(row["iteration"]) for row in rows] == list(range(0, 45, 5))
    # Before the snapshot the first log counts; the second has no matting lines.
    values = [row["matting/lambda"] for row in rows]
    assert values == ["100.0", "99.0", "98.0", "97.0", "", "", "", "", ""]
    assert {path.name for path in out.parent.iterdir()} == {"training.csv", "training.png"}


def test_panels_without_series_are_left_out(logs):
    groups = plots.panels(caffe_log.read_logs(logs))
    assert set(groups) == {"loss", "learning rate"}
    assert set(groups["loss"]) == {"loss", "test/loss"}


def test_bad_input_is_one_sentence(logs, tmp_path):
    empty = tmp_path / "empty.log"
    empty.write_text("no training here\n")
    with pytest.raises(InputError, match="empty.log holds no iteration"):
        plot_training.main([str(logs[0]), str(empty)])
    with pytest.raises(InputError, match="absent.log cannot be read"):
        plot_training.main([str(tmp_path / "absent.log")])
    with pytest.raises(InputError, match="not the name of a picture"):
        plot_training.main([str(logs[0]), "-o", str(tmp_path / "training.csv")])
    assert [path.name for path in tmp_path.iterdir()] == ["empty.log"]


def test_log_that_the_table_would_replace_is_kept(logs, tmp_path):
    log = tmp_path / "training.csv"
    log.write_bytes(logs[0].read_bytes())
    with pytest.raises(InputError, match="training.csv is read and would be replaced"):
        plot_training.main([str(log), "-o", str(tmp_path / "training.png")])
    assert log.read_bytes() == logs[0].read_bytes() and list(tmp_path.iterdir()) == [log]


def test_table_of_somebody_is_kept(logs, tmp_path):
    table = tmp_path / "errors.csv"
    table.write_text("image,sad\n")
    with pytest.raises(InputError, match="errors.csv, where the numbers .* is another file"):
        plot_training.main([str(logs[0]), "-o", str(tmp_path / "errors.png")])
    assert table.read_text() == "image,sad\n" and list(tmp_path.iterdir()) == [table]
    for _ in range(2):  # its own is replaced
        assert plot_training.main([str(logs[0]), "-o", str(tmp_path / "training.png")]) == 0


@pytest.mark.parametrize("name", [os.fsdecode(b"lat\xe9in.log"), "a$\\frac$.log", "日本.log"])
def test_log_is_drawn_whatever_its_name(logs, tmp_path, name, recwarn):
    log = tmp_path / name
    log.write_bytes(logs[0].read_bytes())
    assert plot_training.main([str(log), "-o", str(tmp_path / "training.png")]) == 0
    assert cv2.imread(str(tmp_path / "training.png")) is not None and not recwarn


def test_errors_of_snapshots_join_their_stage(logs, tmp_path):
    point = {
        "stage": 0,
        "iteration": 20,
        "errors": {"dapm_gradient": {"mean": 2e-3}, "sad": {"mean": 5.0}},
    }
    curve = tmp_path / "curve.json"
    curve.write_text(json.dumps({"points": [point]}))
    out = tmp_path / "training.png"
    assert plot_training.main([str(logs[0]), "--errors", str(curve), "-o", str(out)]) == 0
    with open(out.with_suffix(".csv")) as stream:
        rows = {int(row["iteration"]): row for row in csv.DictReader(stream)}
    assert float(rows[20]["error/dapm_gradient"]) == 2e-3 and rows[0]["error/sad"] == ""
    stages = caffe_log.read_logs([logs[0]])
    caffe_log.add_errors(stages, curve)
    assert plots.panels(stages)["gradient error"] == ["error/dapm_gradient"]
    # There is one stage only; and what is no number, or nothing that has one.
    for changed in ({"stage": 1}, {"iteration": "a"}, {"errors": [1]}, {"errors": {"sad": {}}}):
        curve.write_text(json.dumps({"points": [point | changed]}))
        with pytest.raises(InputError, match="is no learning curve of these logs"):
            caffe_log.add_errors(stages, curve)
