"""`make train` on the sample ends with a model that works."""

import json

import pytest

from prototxt.catalog import MADE_WEIGHTS
from tools.matting.models import ROOT
from tools.test_net import main as evaluate_net
from tools.train import main as train
from tools.training.stages import Stage

pytestmark = pytest.mark.training


def mean_sad(weights, out):
    sample = ["--dataset", str(ROOT / "data/sample")]
    options = ["--model", "lite", "--weights", str(weights), *sample, "--out", str(out)]
    assert evaluate_net(options) == 0
    errors = json.loads((out / "errors.json").read_text())
    return errors["mean"]["sad"], errors["reference"]["mean"]["sad"]


@pytest.fixture(scope="module")
def lite():
    """Trains, or goes on from what is there: the same command as `make train`."""
    assert train(["lite"]) == 0


@pytest.mark.usefixtures("lite")
def test_end_to_end_beats_half_of_gray_and_the_warm_start(tmp_path):
    trained, gray = mean_sad(MADE_WEIGHTS / "lite.caffemodel", tmp_path / "trained")
    warm, _ = mean_sad(MADE_WEIGHTS / "lite_warm.caffemodel", tmp_path / "warm")
    assert trained < 0.5 * gray
    assert trained < warm


@pytest.mark.usefixtures("lite")
def test_a_finished_stage_is_not_run_again():
    stage = Stage.read(ROOT / "solver/lite_trimap_solver.prototxt")
    before = stage.result.stat().st_mtime
    assert train(["lite"]) == 0
    assert stage.result.stat().st_mtime == before
