"""Trainings derived from a solver file, by the real Caffe on a tiny net."""

import json
import re
from hashlib import sha256

import numpy as np
import pytest

from data_prep.common.errors import InputError, collected_warnings
from tools.experiments.ablation import settings_of
from tools.experiments.learning_rates import loss_change, run_rate
from tools.matting.caffe_net import read_caffemodel
from tools.training.caffe_log import read_logs
from tools.training.stages import run_stage
from tools.training.variants import scaled, varied_stage

NET = """
layer {
  name: "data" type: "DummyData" top: "data" top: "truth"
  dummy_data_param {
    shape { dim: 4 dim: 3 } shape { dim: 4 dim: 2 }
    data_filler { type: "constant" value: 0.5 } data_filler { type: "constant" value: 1 }
  }
}
layer {
  name: "ip" type: "InnerProduct" bottom: "data" top: "ip"
  inner_product_param { num_output: 2 weight_filler { type: "constant" value: 0.1 } }
}
layer { name: "loss" type: "EuclideanLoss" bottom: "ip" bottom: "truth" top: "loss" }
"""
# The net names a database in a comment only.
SOLVER = """
net: "{net}" base_lr: 0.01 lr_policy: "step" gamma: 0.5 stepsize: 20
max_iter: 40 display: 5 average_loss: 1 test_iter: 2 test_interval: 20
snapshot: 20 snapshot_prefix: "elsewhere" solver_mode: CPU random_seed: 7
"""


@pytest.fixture
def base(tmp_path):
    """Solver file and initial weights."""
    net = tmp_path / "net.prototxt"
    net.write_text('# source: "data/usual/train"\n' + NET)
    solver, weights = tmp_path / "solver.prototxt", tmp_path / "init.caffemodel"
    solver.write_text(SOLVER.format(net=net))
    weights.write_bytes(b"")  # no weights at all: Caffe keeps the filler's
    return solver, weights


def variant(base, tmp_path, name="small", **changes):
    solver, weights = base
    return varied_stage(name, solver, weights, folder=tmp_path / "variants", **changes)


def test_settings_net_and_databases_are_changed(base, tmp_path):
    changes = {"base_lr": 0.5, "test_iter": [9]}
    stage = variant(base, tmp_path, settings=changes, prepared=tmp_path / "mine")
    text = stage.solver.read_text()
    assert "base_lr: 0.5" in text and "test_iter: 9" in text and "test_iter: 2" not in text
    assert "stepsize: 20" in text and str(base[1]) in text
    assert f'source: "{tmp_path}/mine/train"' in stage.net.read_text()
    assert stage.prefix == tmp_path / "variants/small/small"


def test_a_variant_that_has_changed_begins_anew_and_loses_nothing(base, tmp_path):
    stage = variant(base, tmp_path)
    kept = stage.prefix.with_name("small_iter_20.caffemodel")
    kept.write_text("trained")
    assert variant(base, tmp_path) == stage and kept.exists()
    base[1].write_bytes(b"other weights")
    with collected_warnings() as warnings:
        variant(base, tmp_path)
        assert not kept.exists()
        kept.write_text("trained again")
        variant(base, tmp_path, settings={"base_lr": 0.5})
    assert not kept.exists()
    for number, content in ((1, "trained"), (2, "trained again")):
        aside = tmp_path / f"variants/small.stale-{number}"
        assert (aside / kept.name).read_text() == content
        assert warnings[number - 1].endswith(f"its earlier training is kept in {aside}.")


def with_databases(folder, sources, manifest):
    """A folder of databases that say inside what they are made from; the folder."""
    (folder / "train").mkdir(parents=True, exist_ok=True)
    inner = {"built_from": {"sources": sources}}
    (folder / "train/manifest.json").write_text(json.dumps(inner))
    (folder / "manifest.json").write_text(manifest)
    return folder


def test_what_changes_no_training_keeps_the_snapshots(base, tmp_path):
    mine = with_databases(tmp_path / "mine", {"seed": 0}, "one")
    stage = variant(base, tmp_path, prepared=mine)
    kept = stage.prefix.with_name("small_iter_20.caffemodel")
    kept.write_text("trained")
    net = tmp_path / "net.prototxt"
    net.write_text(f"# A comment.\n{net.read_text()}")
    with_databases(mine, {"seed": 0}, "written again")
    variant(base, tmp_path, prepared=mine)
    assert kept.exists()
    (mine / "train/manifest.json").unlink()  # databases that are missing have not changed
    variant(base, tmp_path, prepared=mine)
    with_databases(mine, {"seed": 0}, "written again")
    variant(base, tmp_path, prepared=mine)
    assert kept.exists()
    with_databases(mine, {"seed": 1}, "written again")
    variant(base, tmp_path, prepared=mine)
    assert not kept.exists()


def test_what_is_saved_and_tested_on_the_way_is_no_other_training(base, tmp_path):
    stage = variant(base, tmp_path)
    kept = stage.prefix.with_name("small_iter_20.caffemodel")
    kept.write_text("trained")
    changes = {"snapshot": 7, "test_interval": 3, "test_iter": [], "display": 2}
    assert variant(base, tmp_path, settings=changes).solver == stage.solver and kept.exists()
    # As code that had a digest of more fields noted it.
    text = re.sub(r"# solver \w+", "# solver 0123", stage.solver.read_text())
    stage.solver.write_text(text)
    variant(base, tmp_path, settings=changes)
    assert kept.exists() and "# solver 0123" not in stage.solver.read_text()


def test_a_training_with_a_fixed_rate_can_be_made_longer(base, tmp_path):
    fixed = {"lr_policy": "fixed"}
    stage = variant(base, tmp_path, settings=fixed)
    run_stage(stage, None)
    longer = variant(base, tmp_path, settings={**fixed, "max_iter": 45})
    assert longer.last_snapshot()[0] == 40 and not longer.finished
    run_stage(longer, None)
    assert longer.finished
    variant(base, tmp_path, settings={**fixed, "max_iter": 20})  # it went beyond that
    assert (tmp_path / "variants/small.stale-1/small_iter_45.caffemodel").exists()
    # Where the rate depends on how far it is, a digest holds the length.
    stepped = variant(base, tmp_path, settings={"max_iter": 40})
    kept = stepped.prefix.with_name("small_iter_20.caffemodel")
    kept.write_text("trained")
    variant(base, tmp_path, settings={"max_iter": 45})
    assert not kept.exists()


def test_a_variant_of_the_code_that_noted_digests_keeps_its_snapshots(base, tmp_path):
    """Its header is that of commit 64d2747; it is renewed where it still holds."""
    mine = with_databases(tmp_path / "mine", {"seed": 0}, "one")
    stage = variant(base, tmp_path, prepared=mine)
    renewed = stage.solver.read_text()
    body = renewed[re.match(r"(#.*\n)*", renewed).end() :]
    before = (
        "# solver.prototxt with changes\n"
        f"# weights {sha256(base[1].read_bytes()).hexdigest()}\n"
        f"# databases {sha256(b'one').hexdigest()}\n"
    )
    stage.solver.write_text(before + body)
    kept = stage.prefix.with_name("small_iter_20.caffemodel")
    kept.write_text("trained")
    variant(base, tmp_path, prepared=mine)
    assert kept.exists() and stage.solver.read_text() == renewed
    stage.solver.write_text(before.replace("weights ", "weights 0") + body)
    variant(base, tmp_path, prepared=mine)
    assert not kept.exists()


def test_what_it_starts_from_must_be_there(base, tmp_path):
    base[1].unlink()
    with pytest.raises(InputError, match="init.caffemodel does not exist, and small starts"):
        variant(base, tmp_path)


def test_a_shorter_training_keeps_its_proportions(base):
    assert scaled(base[0], 0.25) == {
        "max_iter": 10,
        "snapshot": 5,
        "test_interval": 5,
        "stepsize": 5,
    }


def test_a_killed_training_ends_where_one_that_was_not_does(base, tmp_path):
    stage = variant(base, tmp_path)
    run_stage(stage, None)
    assert stage.finished
    weights = read_caffemodel(stage.result)["ip"][0]
    change = loss_change(stage, True)
    assert change["stable"] and change["train"][1] < change["train"][0]
    series = read_logs([stage.log])[-1].series
    assert change["curve"] == sorted(series["loss"].items())
    tests = sorted(series["test/loss"].items())
    assert change["test"] == tests[-1][1]
    # As if killed while Caffe wrote its last snapshot.
    state = stage.result.with_suffix(".solverstate")
    state.write_bytes(state.read_bytes()[:-1])
    assert not stage.finished
    assert run_rate(stage) and stage.finished
    np.testing.assert_array_equal(read_caffemodel(stage.result)["ip"][0], weights)
    assert loss_change(stage, True) == change


def test_a_rate_that_blows_up_is_told_from_other_failures(base, tmp_path):
    stage = variant(base, tmp_path, settings={"base_lr": 1e30})
    assert run_rate(stage)  # without a matting layer nobody stops it
    assert not loss_change(stage, True)["stable"]
    stage.net.write_text(stage.net.read_text().replace("EuclideanLoss", "NoSuchLayer"))
    broken = variant(base, tmp_path, "broken")
    with pytest.raises(InputError, match="Training stopped"):
        run_rate(broken)


def test_experiments_are_shorter_and_without_test_losses(base, tmp_path):
    """Caffe refuses a test interval of 0, so it lies beyond the end."""
    stage = variant(base, tmp_path, settings=settings_of(base[0], 0.5))
    run_stage(stage, None)
    (log,) = read_logs([stage.log])
    assert stage.iterations == 20 and stage.finished
    assert log.series["loss"] and not [name for name in log.series if name.startswith("test/")]
