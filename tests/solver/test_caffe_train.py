"""`caffe train` as a user runs it: the program, no activation, real databases."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import lmdb
import numpy as np
import pytest
from caffe.proto import caffe_pb2
from checkout import ROOT
from google.protobuf import text_format

from data_prep.caffe_data.position import write_positions
from data_prep.common.errors import InputError
from data_prep.prepare import main as prepare
from prototxt.catalog import NETS
from tools.init_weights import main as init_weights
from tools.matting.caffe_net import read_caffemodel
from tools.training.stages import Stage, check_databases, run_stage

CAFFE = Path(sys.prefix, "bin/caffe")


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    """One training portrait (13 records) and one test portrait."""
    folder = tmp_path_factory.mktemp("dataset")
    sample = ROOT / "data/sample"
    for name in ("train", "test"):
        stem = (sample / f"{name}.txt").read_text().split()[0]
        (folder / f"{name}.txt").write_text(stem + "\n")
        for kind, suffix in (("images", "jpg"), ("mattes", "png")):
            (folder / kind).mkdir(exist_ok=True)
            shutil.copy(sample / kind / f"{stem}.{suffix}", folder / kind)
    assert prepare(["--dataset", str(folder), "--out", str(folder / "prepared")]) == 0
    return folder / "prepared"


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    """Initial weights of the lite net."""
    path = tmp_path_factory.mktemp("weights") / "init.caffemodel"
    assert init_weights(["lite", "--from", "nothing", "-o", str(path)]) == 0
    return path


@pytest.fixture
def solver(prepared, weights, tmp_path):
    """The shipped lite solver on one portrait, without dropout, a few iterations."""

    def write(name, **changes):
        net = (ROOT / "prototxt/lite/train_val.prototxt").read_text()
        net = net.replace("data/prepared/train_", f"{prepared}/test_")
        net = net.replace("data/prepared", str(prepared))
        net = net.replace("dropout_ratio: 0.5", "dropout_ratio: 0").replace(
            "batch_size: 2", "batch_size: 1"
        )
        (tmp_path / "net.prototxt").write_text(net)
        parameters = text_format.Parse(
            (ROOT / "solver/lite_matting_solver.prototxt").read_text(), caffe_pb2.SolverParameter()
        )
        parameters.weights[:] = [str(weights)]
        parameters.net = str(tmp_path / "net.prototxt")
        parameters.snapshot_prefix = str(tmp_path / name)
        parameters.test_iter[0], parameters.random_seed = 1, 1
        parameters.display = parameters.average_loss = 1
        for key, value in changes.items():
            setattr(parameters, key, value)
        path = tmp_path / f"{name}.prototxt"
        path.write_text(str(parameters))
        return path

    return write


def caffe_train(*arguments):
    """Run the launcher with an environment that knows nothing of ours."""
    return subprocess.run(
        [CAFFE, "train", *map(str, arguments)],
        cwd=ROOT,
        env={"PATH": "/usr/local/bin:/usr/bin:/bin", "HOME": os.environ.get("HOME", "/")}
        | {k: v for k, v in os.environ.items() if k == "PYTHONPATH"},
        capture_output=True,
        text=True,
        timeout=300,
    )


def losses(log):
    return {int(i): float(v) for i, v in re.findall(r"Iteration (\d+) \(.*loss = (\S+)", log)}


def test_trains_snapshots_and_resumes_on_the_same_curve(solver, tmp_path):
    whole = caffe_train("-solver", solver("whole", max_iter=6, snapshot=3))
    assert whole.returncode == 0, whole.stderr[-2000:]
    resumed = caffe_train(
        "-solver", solver("resumed", max_iter=6), "-snapshot", tmp_path / "whole_iter_3.solverstate"
    )
    assert resumed.returncode == 0, resumed.stderr[-2000:]

    first, second = losses(whole.stderr), losses(resumed.stderr)
    assert len(first) == 6 and first[5] < first[0]
    for iteration in (4, 5):
        assert second[iteration] == pytest.approx(first[iteration], rel=1e-3)

    early = read_caffemodel(tmp_path / "whole_iter_3.caffemodel")
    late = read_caffemodel(tmp_path / "whole_iter_6.caffemodel")
    again = read_caffemodel(tmp_path / "resumed_iter_6.caffemodel")
    assert late["alpha"][0] != early["alpha"][0]
    for name in ("conv1_1", "conv5_3", "score_fr", "alpha"):
        assert not np.array_equal(late[name][0], early[name][0])
        np.testing.assert_allclose(again[name][0], late[name][0], rtol=1e-3, atol=1e-5)
    # fixed upsampling does not learn
    assert np.array_equal(early["upscore8"][0], late["upscore8"][0])
    assert re.search(r"\[matting\] lambda=.* solver=hybrid$", whole.stderr, re.MULTILINE)


def test_a_nan_ends_with_one_sentence(solver, tmp_path):
    result = caffe_train("-solver", solver("nan", max_iter=50, base_lr=1e30))
    assert result.returncode == 1
    last = result.stderr.strip().splitlines()[-1]
    assert re.match(
        r"caffe: MattingLayer: the scores hold a NaN or infinity in forward pass \d+", last
    )
    assert "Traceback" not in result.stderr and "Aborted" not in result.stderr


def test_bad_parameters_end_with_one_sentence(solver, tmp_path):
    path = solver("bad", max_iter=1)
    net = tmp_path / "net.prototxt"
    net.write_text(net.read_text().replace("log_every", "log_evry"))
    result = caffe_train("-solver", path)
    assert result.returncode == 1
    assert "caffe: MattingLayer: param_str has an unknown key 'log_evry'" in result.stderr
    assert "Traceback" not in result.stderr


@pytest.mark.parametrize(
    "net, classes", [("lite_deeplab", 3), ("lite_crfrnn", 3), ("lite_portraitfcn", 2)]
)
def test_the_baselines_learn(net, classes, prepared, tmp_path):
    """From their initial weights, one portrait again and again."""
    write_positions(prepared)
    weights = tmp_path / "init.caffemodel"
    assert init_weights([net, "--from", "nothing", "-o", str(weights)]) == 0
    text = NETS[net].trimap_train_val.read_text()
    text = text.replace("data/prepared/train_", f"{prepared}/test_")
    text = text.replace("data/prepared", str(prepared)).replace("batch_size: 2", "batch_size: 1")
    text = text.replace(r"\"log_every\": 20", r"\"log_every\": 15")
    (tmp_path / "net.prototxt").write_text(text)
    solver = text_format.Parse(
        (ROOT / "solver/lite_trimap_solver.prototxt").read_text(), caffe_pb2.SolverParameter()
    )
    solver.net, solver.weights[:] = str(tmp_path / "net.prototxt"), [str(weights)]
    solver.max_iter, solver.display, solver.average_loss = 20, 1, 1
    solver.test_iter[0], solver.test_interval = 1, 20
    solver.snapshot_prefix = str(tmp_path / "net")
    (tmp_path / "solver.prototxt").write_text(str(solver))
    result = caffe_train("-solver", tmp_path / "solver.prototxt")
    assert result.returncode == 0, result.stderr[-2000:]
    found = losses(result.stderr)
    # Far below what a net has that knows nothing of the photo.
    assert np.mean([found[i] for i in range(15, 20)]) < 0.8 * np.log(classes)
    assert "Iteration 20, Testing net" in result.stderr
    trained = read_caffemodel(tmp_path / "net_iter_20.caffemodel")
    if net == "lite_crfrnn":
        assert result.stderr.count("[crf] spatial 0.3 0 0 0 0.3 0 0 0 0.3; bilateral 0.5 ") == 1
        assert result.stderr.count("[crf] ") == 2
        assert np.abs(trained["crf_score"][0] - 0.3 * np.eye(3)).max() > 1e-3


def test_missing_and_empty_databases_are_named(tmp_path):
    net = tmp_path / "net.prototxt"
    net.write_text(f'source: "{tmp_path}/absent"')
    with pytest.raises(InputError, match="absent does not exist; .*make data"):
        check_databases(net)
    lmdb.open(str(tmp_path / "empty")).close()
    net.write_text(f'source: "{tmp_path}/empty"')
    with pytest.raises(InputError, match="empty is empty; .*make data"):
        check_databases(net)


def test_databases_that_are_cut_short_or_damaged_are_named(prepared, tmp_path):
    """Reading them would kill Caffe with SIGBUS."""
    copy = shutil.copytree(prepared, tmp_path / "copy") / "train_mask"
    net = tmp_path / "net.prototxt"
    net.write_text(f'source: "{copy}"')
    check_databases(net)
    whole = (copy / "data.mdb").stat().st_size
    os.truncate(copy / "data.mdb", whole // 2)
    told = f"data.mdb has {whole // 2} bytes instead of {whole}; .*make data"
    with pytest.raises(InputError, match=told):
        check_databases(net)
    (copy / "manifest.json").unlink()  # as other programs write databases
    with pytest.raises(InputError, match="is cut short .*make data"):
        check_databases(net)
    os.truncate(copy / "data.mdb", 3000)
    with pytest.raises(InputError, match="cannot be opened .*make data"):
        check_databases(net)


def test_a_database_that_is_cut_short_during_training_is_the_reason(solver, prepared, tmp_path):
    stage = Stage.read(solver("cut", max_iter=1))
    copy = shutil.copytree(prepared, tmp_path / "copy")
    os.truncate(copy / "test_mask/data.mdb", 8192)
    stage.net.write_text(stage.net.read_text().replace(str(prepared), str(copy)))
    with pytest.raises(InputError, match="Training stopped: Caffe was ended by SIGBUS .a file"):
        run_stage(stage, None)


def test_lambda_starts_as_the_layer_says_and_goes_on_as_the_snapshot_says(solver, tmp_path):
    path = solver("lambda", max_iter=1, snapshot=1)
    net = tmp_path / "net.prototxt"
    options = r"\"log_every\": 1, \"lambda\": {}"
    text = net.read_text().replace(r"\"log_every\": 20", options.format(5))
    net.write_text(text)
    first = caffe_train("-solver", path)
    assert first.returncode == 0, first.stderr[-2000:]
    assert re.search(r"^\[matting\] lambda=5 ", first.stderr, re.MULTILINE)
    assert "MattingLayer: lambda is" not in first.stderr
    learned = float(read_caffemodel(tmp_path / "lambda_iter_1.caffemodel")["alpha"][0].item())
    assert learned != 5

    net.write_text(text.replace(options.format(5), options.format(7)))
    path.write_text(path.read_text().replace("max_iter: 1", "max_iter: 2"))
    second = caffe_train("-solver", path, "-snapshot", tmp_path / "lambda_iter_1.solverstate")
    assert second.returncode == 0, second.stderr[-2000:]
    assert f"[matting] lambda={learned:.6g} " in second.stderr
    said = f"MattingLayer: lambda is {learned:.6g} as in the loaded weights; the 7 of param_str"
    assert second.stderr.count(said) == 1


def test_a_truth_of_0_to_255_ends_with_one_sentence(solver, tmp_path):
    path = solver("levels", max_iter=1)
    net = tmp_path / "net.prototxt"
    net.write_text(re.sub(r"(?m)^    scale: 0.0039.*\n", "", net.read_text()))
    result = caffe_train("-solver", path)
    assert result.returncode == 1
    last = result.stderr.strip().splitlines()[-1]
    assert last.startswith("caffe: WeightedLossLayer: the true alpha goes from 0 to 255")
    assert "scale: 0.0039" in last


@pytest.mark.parametrize("path", sorted((ROOT / "solver").glob("*.prototxt")), ids=lambda p: p.stem)
def test_every_solver_names_a_net_and_its_initial_weights(path):
    parameters = text_format.Parse(path.read_text(), caffe_pb2.SolverParameter())
    assert (ROOT / parameters.net).is_file()
    assert len(parameters.weights) == 1
    assert parameters.solver_mode == caffe_pb2.SolverParameter.CPU
