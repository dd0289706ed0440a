"""The converted segmenter against its original, and the head behind it."""

from __future__ import annotations

from pathlib import Path

import caffe
import cv2
import numpy as np
import pytest
from ai_edge_litert.interpreter import Interpreter
from caffe import layers as L
from checkout import ROOT
from google.protobuf import text_format
from scipy.ndimage import maximum_filter, minimum_filter
from scipy.special import softmax

from data_prep.common.assets import fetch
from data_prep.common.errors import InputError
from data_prep.common.images import read_photo
from prototxt.catalog import CERTAIN_LOGIT, MEAN_BGR, SHARPNESS, score_weights
from prototxt.netspec import selfie
from prototxt.netspec.blocks import upsample_bilinear
from tools import convert_selfie

SAMPLES = ROOT / "data/sample/images"


def photos() -> list[Path]:
    return [fetch("astronaut"), *sorted(SAMPLES.iterdir())[::6]]


def load(definition, folder: Path, weights: Path | None = None) -> caffe.Net:
    path = folder / "net.prototxt"
    path.write_text(text_format.MessageToString(definition))
    net = caffe.Net(str(path), caffe.TEST)
    if weights is not None:
        net.copy_from(str(weights))
    return net


def net_input(photo: Path) -> np.ndarray:
    """1 x 3 x 256 x 256, mean-subtracted BGR."""
    small = cv2.resize(read_photo(photo), selfie.NET_SIZE, interpolation=cv2.INTER_AREA)
    return (small - np.float32(MEAN_BGR)).astype(np.float32).transpose(2, 0, 1)[None]


@pytest.fixture(scope="module")
def files(tmp_path_factory) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("selfie")
    weights = folder / "selfie.caffemodel"
    convert_selfie.main(["-o", str(weights)])
    load(selfie.selfie_trimap_deploy(), folder)
    return folder / "net.prototxt", weights


@pytest.fixture(scope="module")
def net(files) -> caffe.Net:
    prototxt, weights = map(str, files)
    net = caffe.Net(prototxt, caffe.TEST)
    net.copy_from(weights)
    return net


@pytest.fixture(scope="module")
def original() -> Interpreter:
    interpreter = Interpreter(str(fetch("selfie-segmenter")))
    interpreter.allocate_tensors()
    return interpreter


@pytest.mark.parametrize("photo", photos(), ids=lambda path: path.stem)
def test_equals_the_tflite_original(net, original, photo):
    data = net_input(photo)
    rgb = (data[0] + np.float32(MEAN_BGR)[:, None, None])[::-1].transpose(1, 2, 0) / 255
    original.set_tensor(original.get_input_details()[0]["index"], rgb[None])
    original.invoke()
    wanted = original.get_tensor(original.get_output_details()[0]["index"])[0, :, :, 0]
    net.blobs["data"].data[...] = data
    net.forward()
    difference = np.abs(net.blobs["segment"].data[0, 0] - wanted)
    # Rounding only; the segmenter's logits reach 1000.
    assert difference.max() < 1e-3
    assert difference.mean() < 1e-5


def test_opencv_reads_the_same_net(net, files):
    other = cv2.dnn.readNetFromCaffe(*map(str, files))
    data = net_input(fetch("astronaut"))
    net.blobs["data"].data[...] = data
    net.forward()
    other.setInput(data)
    logit, score = other.forward(["logit", "score"])
    scale = np.abs(net.blobs["score"].data).max()
    assert np.abs(score - net.blobs["score"].data).max() < 1e-5 * scale
    scale = np.abs(net.blobs["logit"].data).max()
    assert np.abs(logit - net.blobs["logit"].data).max() < 1e-5 * scale


def test_every_layer_gets_weights(net, files):
    weights = convert_selfie.selfie_weights(fetch("selfie-segmenter"))
    assert set(weights) == set(net.params)


def test_upsampling_clamps_at_the_borders(tmp_path):
    n = caffe.NetSpec()
    n.data = L.Input(shape=dict(dim=[2, 3, 5, 4]))
    upsample_bilinear(n, "up", n.data, 3)
    net = load(n.to_proto(), tmp_path)
    image = np.random.default_rng(0).normal(size=(2, 3, 5, 4))
    net.blobs["data"].data[...] = image
    net.forward()
    for plane, result in zip(image.reshape(6, 5, 4), net.blobs["up"].data.reshape(6, 10, 8)):
        wanted = cv2.resize(plane, (8, 10), interpolation=cv2.INTER_LINEAR)
        np.testing.assert_allclose(result, wanted, atol=1e-5)


def head(tmp_path: Path, logit: np.ndarray, radius: int) -> np.ndarray:
    """Scores of the trimap head for a logit, with a window of that radius."""
    n = caffe.NetSpec()
    n.logit = L.Input(shape=dict(dim=[1, 1, *logit.shape]))
    selfie.trimap_head(n, n.logit, radius)
    net = load(n.to_proto(), tmp_path)
    for blob, values in zip(net.params["score"], score_weights()):
        blob.data[...] = values.reshape(blob.data.shape)
    net.blobs["logit"].data[...] = logit
    net.forward()
    return net.blobs["score"].data[0].copy()


@pytest.mark.parametrize("radius", [0, 1, 4])
def test_scores_are_those_of_the_documented_formula(tmp_path, radius):
    logit = np.random.default_rng(1).normal(scale=10, size=(12, 15))
    size = 2 * radius + 1
    foreground = minimum_filter(logit, size, mode="nearest")
    background = -maximum_filter(logit, size, mode="nearest")
    wanted = np.stack(
        [
            SHARPNESS * (foreground - CERTAIN_LOGIT),
            SHARPNESS * (background - CERTAIN_LOGIT),
            np.zeros_like(logit),
        ]
    )
    np.testing.assert_allclose(head(tmp_path, logit, radius), wanted, atol=1e-2)


def test_band_is_free_of_data_terms_and_the_rest_is_certain(tmp_path):
    """The gray trap: F + B = 1e-4 in the band would already make hair gray."""
    logit = np.full((20, 30), -50.0)
    logit[:, 15:] = 50
    foreground, background, _ = softmax(head(tmp_path, logit, 4), axis=0)
    band = np.abs(np.arange(30) - 14.5) < 4
    assert (foreground + background)[:, band].max() < 1e-8
    assert foreground[:, 19:].min() > 0.999
    assert background[:, :11].min() > 0.999


def test_uncertain_logits_are_unknown(tmp_path):
    logit = np.full((20, 30), 50.0)
    logit[5:9, 5:9] = 0
    _, _, unknown = softmax(head(tmp_path, logit, 0), axis=0)
    np.testing.assert_allclose(unknown, logit == 0, atol=1e-8)


def test_a_gradient_step_lowers_the_loss(tmp_path, files):
    """`caffe train` can fine-tune it: the gradient reaches the first layer."""
    n = caffe.NetSpec()
    n.data = L.Input(shape=dict(dim=[1, 3, 64, 48]))
    n.truth = L.Input(shape=dict(dim=[1, 1, 64, 48]))
    n.loss = L.SigmoidCrossEntropyLoss(selfie.trunk(n, n.data), n.truth)
    path = tmp_path / "train.prototxt"
    path.write_text(text_format.MessageToString(n.to_proto()))
    net = caffe.Net(str(path), caffe.TRAIN)
    net.copy_from(str(files[1]))
    net.blobs["data"].data[...] = net_input(fetch("astronaut"))[:, :, :256:4, 32:224:4]
    net.blobs["truth"].data[...] = 1
    before = net.forward()["loss"].item()
    net.backward()
    weights = net.params["conv1"][0]
    assert np.abs(net.params["rgb"][0].diff).max() == 0
    assert np.abs(weights.diff).max() > 0
    weights.data[...] -= 1e-4 * weights.diff / np.linalg.norm(weights.diff)
    assert net.forward()["loss"].item() < before


def test_another_file_is_refused(tmp_path):
    path = tmp_path / "other.tflite"
    path.write_bytes(b"not a model at all")
    with pytest.raises(InputError, match="other.tflite is not a TensorFlow Lite model"):
        convert_selfie.main([str(path), "-o", str(tmp_path / "x.caffemodel")])
    assert not (tmp_path / "x.caffemodel").exists()


def test_segmenter_is_not_written_over(tmp_path):
    path = tmp_path / "model.tflite"
    path.write_bytes(b"the only copy")
    with pytest.raises(InputError, match="model.tflite is read and would be replaced"):
        convert_selfie.main([str(path), "-o", str(path)])
    assert path.read_bytes() == b"the only copy"
