"""Snapshots that a kill left behind, and derived trainings."""

import os
import signal
import sys
import threading
from contextlib import contextmanager

import numpy as np
import psutil
import pytest
from caffe.proto import caffe_pb2

from data_prep.common.errors import InputError, collected_warnings
from tools import train
from tools.matting.caffe_net import read_caffemodel
from tools.training.stages import Stage, check_databases, is_whole, keep_files, run_stage

# Data that never change: two trainings end alike if the second goes on as the first did.
NET = """
layer { name: "data" type: "DummyData" top: "data" top: "truth" dummy_data_param {
  shape { dim: 32 dim: 400 } shape { dim: 32 dim: 400 }
  data_filler { type: "constant" value: 0.1 } data_filler { type: "constant" value: 1 } } }
layer { name: "fc1" type: "InnerProduct" bottom: "data" top: "fc1"
  inner_product_param { num_output: 1500 weight_filler { type: "xavier" } } }
layer { name: "fc2" type: "InnerProduct" bottom: "fc1" top: "fc2"
  inner_product_param { num_output: 400 weight_filler { type: "xavier" } } }
layer { name: "loss" type: "EuclideanLoss" bottom: "fc2" bottom: "truth" top: "loss" }
"""
SOLVER = """
net: "{folder}/net.prototxt" type: "Adam" base_lr: 1e-5 lr_policy: "poly" power: 1
momentum: 0.9 momentum2: 0.999 max_iter: 150 display: 10 snapshot: 50
snapshot_prefix: "{folder}/net" solver_mode: CPU random_seed: 1
"""


@pytest.fixture
def stage(tmp_path):
    return Stage(tmp_path / "solver.prototxt", tmp_path / "net", 30, tmp_path / "net.prototxt")


def snapshot(stage, iteration):
    state = caffe_pb2.SolverState(iter=iteration, current_step=0)
    state.history.add(data=[0.5] * 40)
    path = stage.prefix.with_name(f"{stage.prefix.name}_iter_{iteration}.solverstate")
    path.with_suffix(".caffemodel").write_bytes(b"weights")
    path.write_bytes(state.SerializeToString())
    return path


def test_training_goes_on_from_the_newest_snapshot_that_is_whole(stage):
    assert stage.last_snapshot() is None and not stage.finished
    old, new = snapshot(stage, 9), snapshot(stage, 20)
    assert stage.last_snapshot() == (20, new)
    whole = new.read_bytes()
    for size in range(len(whole)):  # killed while Caffe was writing it
        new.write_bytes(whole[:size])
        assert stage.last_snapshot() == (9, old)


def test_databases_that_are_missing_are_named_with_the_command_that_writes_them(tmp_path):
    net = tmp_path / "train_val.prototxt"
    for folder, command in (
        ("data/prepared_portrait", "make data DATASET=data/portrait_set"),
        ("data/nowhere", "make data"),
    ):
        net.write_text(f'source: "{folder}/no_such_image"')
        with pytest.raises(InputError, match=f"no_such_image does not exist; .* `{command}`"):
            check_databases(net)


def test_a_dataset_to_choose_by_is_checked_before_the_training(tmp_path, monkeypatch):
    monkeypatch.setattr(train, "run_stages", None)
    with pytest.raises(InputError, match="nosuch/images does not exist"):
        train.main(["portrait", "--choose", str(tmp_path / "nosuch")])


def test_weights_without_a_state_do_not_finish_a_stage(stage):
    state = snapshot(stage, 30)
    assert stage.finished
    state.unlink()
    assert stage.result.exists() and not stage.finished
    assert stage.snapshots() == []


def test_snapshots_of_another_stage_are_not_taken(stage, tmp_path):
    other = Stage(tmp_path / "s", tmp_path / "net_trimap", 30, tmp_path / "n")
    snapshot(other, 30)
    assert stage.snapshots() == []
    snapshot(stage, 9), snapshot(stage, 20)
    assert [iteration for iteration, _ in stage.snapshots()] == [9, 20]


def test_kept_weights_take_no_other_ones_away(tmp_path):
    trained, kept = tmp_path / "net_iter_30.caffemodel", tmp_path / "models/net.caffemodel"
    with collected_warnings() as warnings:
        for content in ("first", "first", "second", "third"):
            trained.write_text(content)
            keep_files({kept: trained})
    assert kept.read_text() == "third"
    earlier = {path.name: path.read_text() for path in kept.parent.iterdir() if path != kept}
    assert earlier == {
        "net.stale-1.caffemodel": "first",
        "net.stale-2.caffemodel": "second",
    }
    aside = kept.with_name("net.stale-2.caffemodel")
    assert warnings[-1] == f"{kept} was another one; it is kept in {aside}."


def small_stage(folder):
    folder.mkdir()
    (folder / "net.prototxt").write_text(NET)
    (folder / "solver.prototxt").write_text(SOLVER.format(folder=folder))
    return Stage.read(folder / "solver.prototxt")


@contextmanager
def killed_after(path, number=signal.SIGKILL):
    """Signal the `caffe` that runs in the block once a solver state is there, all of it.

    A training that ends without that state ends the wait, too: nothing outlives the block.
    """
    ended = threading.Event()

    def wait_and_kill():
        while not (path.exists() and is_whole(path)):
            if ended.wait(0.01):
                return
        (caffe,) = (child for child in psutil.Process().children() if child.name() == "caffe")
        caffe.send_signal(number)

    killer = threading.Thread(target=wait_and_kill, daemon=True)
    killer.start()
    try:
        yield
    finally:
        ended.set()
        killer.join()


def test_a_killed_training_ends_with_the_weights_of_one_that_was_not(tmp_path):
    straight, killed = small_stage(tmp_path / "straight"), small_stage(tmp_path / "killed")
    run_stage(straight, None)
    with (
        pytest.raises(InputError, match="killed by SIGKILL; the same command continues"),
        killed_after(killed.prefix.with_name("net_iter_50.solverstate")),
    ):
        run_stage(killed, None)
    start, _ = killed.last_snapshot()
    assert start < killed.iterations
    run_stage(killed, None)
    assert killed.finished
    assert f"Iteration {start} (" in killed.log.read_text().split("Resuming from")[-1]
    expected, found = read_caffemodel(straight.result), read_caffemodel(killed.result)
    assert expected.keys() == found.keys() == {"fc1", "fc2"}
    for layer, blobs in expected.items():
        for one, other in zip(blobs, found[layer], strict=True):
            np.testing.assert_allclose(other, one, rtol=1e-5, atol=1e-7)


def test_an_interrupted_training_is_not_taken_for_a_finished_one(tmp_path):
    stage = small_stage(tmp_path / "interrupted")
    with (
        pytest.raises(InputError, match="stopped before iteration 150; the same command continues"),
        killed_after(stage.prefix.with_name("net_iter_50.solverstate"), signal.SIGINT),
    ):
        run_stage(stage, None)
    assert 50 <= stage.last_snapshot()[0] < 150


# A defect in a layer: no error that it expects, so no sentence of its own.
BROKEN = """
import caffe
from caffe_layers.layer_support import reported


class Broken(caffe.Layer):
    @reported
    def setup(self, bottom, top):
        pass

    @reported
    def reshape(self, bottom, top):
        top[0].reshape(1)

    @reported
    def forward(self, bottom, top):
        {}["absent"]
"""
BROKEN_LAYER = """
layer { name: "broken" type: "Python" bottom: "fc2" top: "broken"
  python_param { module: "broken_layer" layer: "Broken" } }
"""


@pytest.mark.parametrize(
    ("old", "new", "reason"),
    [
        ("num_output: 1500", "num_otput: 1500", r'has no field named "num_otput"'),
        ('bottom: "fc1"', 'bottom: "fc7"', r"Unknown bottom blob 'fc7'"),
        ('\nlayer { name: "loss"', BROKEN_LAYER + 'layer { name: "loss"', "KeyError: 'absent'"),
    ],
)
def test_a_training_that_fails_says_why(tmp_path, monkeypatch, old, new, reason):
    stage = small_stage(tmp_path / "failing")
    (tmp_path / "broken_layer.py").write_text(BROKEN)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(tmp_path), *sys.path]))
    assert old in NET
    stage.net.write_text(NET.replace(old, new))
    with pytest.raises(
        InputError, match=f"^Training stopped: .*{reason}.* [(]whole log: .*[)][.]$"
    ):
        run_stage(stage, None)
