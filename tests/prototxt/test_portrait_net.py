"""The `portrait` net: what it starts as, and that training can move it."""

from __future__ import annotations

from pathlib import Path

import caffe
import cv2
import numpy as np
import pytest
from caffe import NetSpec
from caffe import layers as L

from data_prep.common.assets import fetch
from data_prep.common.images import read_photo
from prototxt import generate
from prototxt.catalog import CERTAIN_LOGIT, MEAN_BGR
from prototxt.netspec import portrait, selfie
from prototxt.netspec.blocks import trimap_loss
from tools.convert_selfie import main as convert_selfie
from tools.init_weights import main as init_weights

SIZE = portrait.VARIANTS["portrait"].size


@pytest.fixture(scope="module")
def segmenter(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("segmenter") / "selfie.caffemodel"
    assert convert_selfie(["-o", str(path)]) == 0
    return path


@pytest.fixture(scope="module", params=["portrait", "portrait_nomask"])
def initial(request, segmenter, tmp_path_factory) -> tuple[Path, Path]:
    """Definition and initial weights."""
    path = tmp_path_factory.mktemp("initial") / "init.caffemodel"
    arguments = [request.param, "--from", "selfie", "--source", str(segmenter), "-o", str(path)]
    assert init_weights(arguments) == 0
    return generate.FOLDER / f"{request.param}/trimap_deploy.prototxt", path


@pytest.fixture(scope="module")
def photo() -> np.ndarray:
    """(3, rows, columns) mean-subtracted BGR."""
    small = cv2.resize(read_photo(fetch("astronaut")), SIZE[::-1])
    return (small - np.float32(MEAN_BGR)).transpose(2, 0, 1)


def loaded(definition: Path, weights: Path, phase: int = caffe.TEST) -> caffe.Net:
    net = caffe.Net(str(definition), phase)
    net.copy_from(str(weights))
    return net


def net_input(photo: np.ndarray, channels: int, seed: int) -> np.ndarray:
    """The photo, and where a fourth channel is wanted any mask at all."""
    mask = np.random.default_rng(seed).uniform(-128, 127, (1, *photo.shape[1:]))
    return np.concatenate([photo, mask])[:channels]


def segmenter_logit(segmenter: Path, photo: np.ndarray, folder: Path) -> np.ndarray:
    n = NetSpec()
    n.data = L.Input(shape=dict(dim=[1, *photo.shape]))
    selfie.trunk(n, n.data)
    path = folder / "segmenter.prototxt"
    path.write_text(str(n.to_proto()))
    net = loaded(path, segmenter)
    net.blobs["data"].data[0] = photo
    net.forward()
    return net.blobs["logit"].data[0, 0].copy()


@pytest.mark.parametrize("seed", [0, 1])
def test_it_starts_as_the_segmenter_s_trimap_whatever_the_mask(
    initial, segmenter, photo, tmp_path, seed
):
    net = loaded(*initial)
    data = net.blobs["data"].data
    data[0] = net_input(photo, data.shape[1], seed)
    net.forward()
    foreground, background, unknown = net.blobs["score"].data[0]
    logit = segmenter_logit(segmenter, photo, tmp_path)
    g, t = portrait.SHARPNESS * portrait.START_SHARPNESS, CERTAIN_LOGIT
    scale = g * np.abs(logit).max()
    assert scale > 10
    assert np.abs(foreground - g * (logit - t)).max() < 1e-5 * scale
    assert np.abs(background - g * (-logit - t)).max() < 1e-5 * scale
    assert not unknown.any()


def test_the_mask_counts_after_one_step(segmenter, photo, tmp_path):
    """Its weights start at zero, but their gradient does not."""
    weights = tmp_path / "init.caffemodel"
    init_weights(["portrait", "--from", "selfie", "--source", str(segmenter), "-o", str(weights)])
    n = NetSpec()
    n.data = L.Input(shape=dict(dim=[1, 4, *SIZE]))
    n.label = L.Input(shape=dict(dim=[1, 1, *SIZE]))
    n.loss = L.SoftmaxWithLoss(portrait.scores(n, n.data, 4, 1), n.label)
    definition = tmp_path / "train.prototxt"
    definition.write_text(str(n.to_proto()))
    net = loaded(definition, weights, caffe.TRAIN)

    def scores(seed: int) -> np.ndarray:
        net.blobs["data"].data[0] = net_input(photo, 4, seed)
        net.forward()
        return net.blobs["score"].data.copy()

    assert np.array_equal(scores(0), scores(1))
    before = net.blobs["loss"].data.item()
    net.backward()
    assert not np.abs(net.params["colors"][0].diff).any()
    for blobs in net.params.values():
        for blob in blobs:
            blob.data[...] -= 1e-4 * blob.diff
    assert np.abs(scores(0) - scores(1)).max() > 1e-6
    scores(1)
    assert net.blobs["loss"].data.item() < before


def test_opencv_reads_the_same_net(initial, photo):
    net = loaded(*initial)
    data = net.blobs["data"].data
    data[0] = net_input(photo, data.shape[1], 0)
    net.forward()
    other = cv2.dnn.readNetFromCaffe(*map(str, initial))
    other.setInput(data)
    ours = net.blobs["score"].data
    assert np.abs(other.forward("score") - ours).max() < 1e-5 * np.abs(ours).max()


def test_weights_are_small_enough_for_the_repository(initial):
    assert initial[1].stat().st_size < 3e6


def test_odds_of_unknown_are_taken_off_in_the_loss(tmp_path):
    n = NetSpec()
    n.score = L.Input(shape=dict(dim=[2, 3, 4, 5]))
    n.matte = L.Input(shape=dict(dim=[2, 1, 4, 5]))
    trimap_loss(n, unknown_odds=1.5)
    (tmp_path / "net.prototxt").write_text(str(n.to_proto()))
    net = caffe.Net(str(tmp_path / "net.prototxt"), caffe.TEST)
    rng = np.random.default_rng(0)
    scores = rng.normal(size=(2, 3, 4, 5))
    matte = rng.choice([0, 0.3, 1], size=(2, 4, 5))
    net.blobs["score"].data[...] = scores
    net.blobs["matte"].data[:, 0] = matte
    net.forward()
    scores[:, 2] -= 1.5
    label = np.where(matte == 1, 0, np.where(matte == 0, 1, 2))[:, None]
    wanted = (
        np.log(np.exp(scores).sum(axis=1)) - np.take_along_axis(scores, label, 1)[:, 0]
    ).mean()
    assert net.blobs["loss"].data == pytest.approx(wanted, rel=1e-5)
