"""The `portrait_detail` net: what it starts as, how far it looks, what it learns from."""

from __future__ import annotations

import re
from pathlib import Path

import caffe
import cv2
import numpy as np
import pytest

from caffe_layers.gradient_loss import gradient_loss
from data_prep.caffe_lmdb import AlignedWriter, shuffled_keys
from data_prep.images import encode_image
from prototxt import generate
from prototxt.blocks import MEAN_BGR
from prototxt.detail import BATCH_SIZE, GRADIENT_WEIGHT, GRID, MARGIN, PREPARED, REACH, SIDE
from tools.init_weights import main as init_weights

DEPLOY = generate.FOLDER / "portrait_detail_deploy.prototxt"
INPUTS = ("image", "alpha", "known")


@pytest.fixture(scope="module")
def initial(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("initial") / "init.caffemodel"
    assert init_weights(["portrait_detail", "--from", "nothing", "-o", str(path)]) == 0
    return path


@pytest.fixture
def net(initial) -> caffe.Net:
    return caffe.Net(str(DEPLOY), str(initial), caffe.TEST)


def stir(net: caffe.Net, seed: int) -> None:
    """Give the last layer weights, as training does."""
    kernel, bias = net.params["residual"]
    rng = np.random.default_rng(seed)
    kernel.data[...] = rng.normal(0, 0.1, kernel.data.shape)
    bias.data[...] = 0.05


def fill(net: caffe.Net, seed: int) -> None:
    """A random photo, matte, and F and B: certain, half certain and unknown pixels."""
    rng = np.random.default_rng(seed)
    net.blobs["image"].data[...] = rng.uniform(-0.5, 0.5, net.blobs["image"].shape)
    net.blobs["alpha"].data[...] = rng.random(net.blobs["alpha"].shape)
    pairs = np.array([[1, 0], [0, 1], [0.5, 0], [0, 0]])
    chosen = pairs[rng.integers(4, size=net.blobs["known"].shape[2:])]
    net.blobs["known"].data[0] = chosen.transpose(2, 0, 1)


def test_an_untrained_net_changes_nothing(net):
    fill(net, 0)
    net.forward()
    assert np.array_equal(net.blobs["refined"].data, net.blobs["alpha"].data)


def test_it_changes_by_the_residual_where_a_pixel_is_unknown(net):
    stir(net, 1)
    fill(net, 1)
    net.forward()
    alpha, residual = net.blobs["alpha"].data[0, 0], net.blobs["residual"].data[0, 0]
    unknown = 1 - net.blobs["known"].data[0].sum(axis=0)
    refined = net.blobs["refined"].data[0, 0]
    np.testing.assert_allclose(refined, alpha + unknown * residual, atol=1e-6)
    assert np.array_equal(refined[unknown == 0], alpha[unknown == 0])
    assert np.abs(residual[unknown == 1]).max() > 0.05


@pytest.mark.parametrize("corner", [0, 1, 2, 3])
def test_it_looks_as_far_as_it_says_and_no_farther(net, corner):
    """A pixel changes the residual around it only; moved by `GRID`, the same elsewhere."""
    stir(net, 2)
    fill(net, 2)
    net.forward()
    before = net.blobs["residual"].data[0, 0].copy()
    row, column = 60 + corner, 60 + 3 - corner
    net.blobs["image"].data[0, :, row, column] += 5
    net.forward()
    rows, columns = np.nonzero(net.blobs["residual"].data[0, 0] != before)
    reach = max(np.abs(rows - row).max(), np.abs(columns - column).max())
    assert REACH - GRID <= reach <= REACH


def test_pieces_on_the_grid_agree(net):
    stir(net, 3)
    fill(net, 3)
    whole = {name: net.blobs[name].data.copy() for name in INPUTS}
    net.forward()
    residual = net.blobs["residual"].data[0, 0].copy()
    size = SIDE - 8 * GRID
    for name in INPUTS:
        net.blobs[name].reshape(1, whole[name].shape[1], size, size)
    net.reshape()
    for name in INPUTS:
        net.blobs[name].data[...] = whole[name][:, :, 3 * GRID :, 5 * GRID :][:, :, :size, :size]
    net.forward()
    piece = net.blobs["residual"].data[0, 0, REACH:-REACH, REACH:-REACH]
    wanted = residual[3 * GRID :, 5 * GRID :][:size, :size][REACH:-REACH, REACH:-REACH]
    np.testing.assert_allclose(piece, wanted, atol=1e-5)


def test_opencv_reads_the_same_net(net, tmp_path):
    stir(net, 4)
    fill(net, 4)
    weights = tmp_path / "stirred.caffemodel"
    net.save(str(weights))
    net.forward()
    other = cv2.dnn.readNetFromCaffe(str(DEPLOY), str(weights))
    for name in INPUTS:
        other.setInput(net.blobs[name].data.copy(), name)
    ours = net.blobs["refined"].data
    assert np.abs(other.forward("refined") - ours).max() < 1e-5 * np.abs(ours).max()


def test_weights_are_small_enough_for_the_repository(initial):
    assert initial.stat().st_size < 3e5


@pytest.fixture
def training_net(tmp_path, initial) -> tuple[caffe.Net, list[tuple[np.ndarray, ...]]]:
    """The training net on pieces written as tools/detail_data.py writes them."""
    rng = np.random.default_rng(5)
    pieces = [
        tuple(rng.integers(256, size=(SIDE, SIDE, *c), dtype=np.uint8) for c in ((3,), (3,), ()))
        for _ in range(BATCH_SIZE)
    ]
    for split in ("train", "test"):
        paths = [tmp_path / f"{split}_{part}" for part in ("image", "solved", "matte")]
        with AlignedWriter(paths, {}, shuffled_keys(len(pieces), 0)) as writer:
            for piece in pieces:
                writer.put([encode_image(image, ".png") for image in piece])
    text = (generate.FOLDER / "portrait_detail_train_val.prototxt").read_text()
    path = tmp_path / "net.prototxt"
    path.write_text(text.replace(f"{PREPARED}/", f"{tmp_path}/"))
    assert len(re.findall(re.escape(f"{tmp_path}/"), path.read_text())) == 6
    order = np.argsort(shuffled_keys(len(pieces), 0))
    return caffe.Net(str(path), str(initial), caffe.TRAIN), [pieces[i] for i in order]


def test_losses_are_those_of_the_middle_of_each_piece(training_net):
    net, pieces = training_net
    stir(net, 6)
    net.forward()
    image = net.blobs["image"].data[0]
    wanted = (pieces[0][0].transpose(2, 0, 1) - np.float32(MEAN_BGR)[:, None, None]) / 255
    np.testing.assert_allclose(image, wanted, atol=1e-6)
    middle = np.s_[:, MARGIN:-MARGIN, MARGIN:-MARGIN]
    truth = np.stack([matte for _, _, matte in pieces])[middle] / 255
    solved = np.stack([solved for _, solved, _ in pieces]) / 255
    np.testing.assert_allclose(net.blobs["alpha"].data[:, 0], solved[..., 0], atol=1e-6)
    np.testing.assert_allclose(net.blobs["known"].data[:, 1], solved[..., 2], atol=1e-6)
    refined = net.blobs["refined"].data[:, 0][middle]
    assert net.blobs["loss"].data == pytest.approx(np.abs(refined - truth).mean(), rel=1e-5)
    gradient, _ = gradient_loss(refined, truth)
    assert net.blobs["gradient_loss"].data[0] == pytest.approx(gradient, rel=1e-5)


def test_steps_along_the_gradient_make_the_loss_smaller(training_net):
    net, _ = training_net
    stir(net, 7)

    def loss() -> float:
        outputs = net.forward()
        return float(outputs["loss"]) + GRADIENT_WEIGHT * float(outputs["gradient_loss"][0])

    before = loss()
    net.backward()
    squares = 0.0
    step = 1e-4
    for blobs in net.params.values():
        for blob in blobs:
            if np.array_equal(blob.diff, np.zeros_like(blob.diff)):
                continue
            squares += float((blob.diff.astype(float) ** 2).sum())
            blob.data[...] -= step * blob.diff
    assert before - loss() == pytest.approx(step * squares, rel=0.1)
