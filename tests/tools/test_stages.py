"""Snapshots that a kill left behind, and derived trainings."""

import pytest
from caffe.proto import caffe_pb2

from tools.stages import Stage


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
