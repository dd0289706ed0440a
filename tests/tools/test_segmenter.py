"""Segmentation nets from outside: real nets, written here, against NumPy's own computation."""

from __future__ import annotations

import json
import re
from pathlib import Path

import cv2
import numpy as np
import pytest
from onnx_file import node, write_onnx

from data_prep.common.assets import fetch
from data_prep.common.errors import InputError
from data_prep.common.images import read_photo
from prototxt.catalog import MADE_WEIGHTS, NETS
from tools import matte as matte_program
from tools.matting.models import ROOT
from tools.matting.onnx_graph import OnnxGraph
from tools.matting.orientation import turned
from tools.matting.photo_view import resized
from tools.matting.predictor import Predictor
from tools.matting.segmenter import Segmenter
from tools.matting.segmenter_settings import (
    IMAGENET_MEAN_RGB,
    IMAGENET_SCALE_RGB,
    SegmenterSettings,
)
from tools.matting.session import MattingSession
from tools.outputs.batch import request_keys
from tools.outputs.rendering import Request

ROWS, COLUMNS = 20, 24
KERNEL = np.random.default_rng(7).normal(0, 0.3, (2, 3, 3, 3))
BIAS = np.array([0.2, -0.1])
SIGMOID = {"output": "logits", "channel": 0, "activation": "sigmoid"}


def two_channel_net(path: Path, shape=(1, 3, ROWS, COLUMNS)) -> Path:
    """A convolution to two channels, its sigmoid as the second output."""
    nodes = [
        node("Conv", ["picture", "kernel", "bias"], "logits", {"pads": [1] * 4}),
        node("Sigmoid", ["logits"], "shares"),
    ]
    size = shape[2:]
    outputs = {"logits": (1, 2, *size), "shares": (1, 2, *size)}
    return write_onnx(path, nodes, {"kernel": KERNEL, "bias": BIAS}, shape, outputs)


@pytest.fixture
def net(tmp_path) -> Path:
    return two_channel_net(tmp_path / "net.onnx")


@pytest.fixture(scope="module")
def noise() -> np.ndarray:
    return np.random.default_rng(8).integers(0, 256, (ROWS, COLUMNS, 3), dtype=np.uint8)


def logits_of(picture: np.ndarray) -> np.ndarray:
    """What `two_channel_net` computes, (2, H, W), of an (H, W, 3) float picture."""
    padded = np.pad(picture, ((1, 1), (1, 1), (0, 0)))
    windows = np.lib.stride_tricks.sliding_window_view(padded, (3, 3), axis=(0, 1))
    return np.einsum("yxcij,ocij->oyx", windows, KERNEL) + BIAS[:, None, None]


def sigmoid(logits: np.ndarray) -> np.ndarray:
    return (1 + np.tanh(logits / 2)) / 2


def segmenter(path: Path, **entries) -> Segmenter:
    return Segmenter(SegmenterSettings.read(path, json.dumps(entries)))


def by_imagenet(photo: np.ndarray) -> np.ndarray:
    """RGB as U²-Net is given it."""
    return (photo[:, :, ::-1] - np.array(IMAGENET_MEAN_RGB)) * IMAGENET_SCALE_RGB


# --- from a photo to a mask -----------------------------------------------------------


def test_defaults_are_rgb_with_the_mean_and_deviation_of_imagenet(net, noise):
    found = segmenter(net, **SIGMOID).mask(noise)
    assert found.shape == (ROWS, COLUMNS) and found.dtype == np.float32
    np.testing.assert_allclose(found, sigmoid(logits_of(by_imagenet(noise)))[0], atol=1e-5)


def test_channels_mean_and_scale_are_those_of_the_settings(net, noise):
    found = segmenter(net, **SIGMOID, channels="bgr", mean=[10, 20, 30], scale=0.01).mask(noise)
    wanted = sigmoid(logits_of((noise - np.array([10.0, 20, 30])) * 0.01))[0]
    np.testing.assert_allclose(found, wanted, atol=1e-5)


@pytest.mark.parametrize("channel", [0, 1])
def test_softmax_is_over_the_channels(net, noise, channel):
    found = segmenter(net, output="logits", channel=channel, activation="softmax").mask(noise)
    logits = logits_of(by_imagenet(noise))
    wanted = np.exp(logits[channel]) / np.exp(logits).sum(axis=0)
    np.testing.assert_allclose(found, wanted, atol=1e-5)


def test_an_output_of_probabilities_is_taken_as_it_is(net, noise):
    found = segmenter(net, output="shares", channel=1).mask(noise)
    np.testing.assert_allclose(found, sigmoid(logits_of(by_imagenet(noise)))[1], atol=1e-5)


def test_min_max_stretches_the_mask_from_0_to_1(net, noise):
    found = segmenter(net, output="logits", channel=1, min_max=True).mask(noise)
    logits = logits_of(by_imagenet(noise))[1]
    wanted = (logits - logits.min()) / (logits.max() - logits.min())
    np.testing.assert_allclose(found, wanted, atol=1e-4)
    assert found.min() == 0 and found.max() == 1


def test_a_picture_of_another_size_is_stretched_to_the_net(net):
    photo = np.random.default_rng(9).integers(0, 256, (51, 77, 3), dtype=np.uint8)
    wanted = segmenter(net, **SIGMOID).mask(resized(photo, (ROWS, COLUMNS)))
    np.testing.assert_array_equal(segmenter(net, **SIGMOID).mask(photo), wanted)


def test_sixteen_bits_give_what_eight_bits_give(net, noise):
    deep = noise.astype(np.uint16) * 257
    found = segmenter(net, **SIGMOID)
    np.testing.assert_array_equal(found.mask(deep), found.mask(noise))


def test_a_net_whose_channels_come_last(tmp_path, noise):
    nodes = [
        node("Transpose", ["picture"], "planes", {"perm": [0, 3, 1, 2]}),
        node("Conv", ["planes", "kernel", "bias"], "stacked", {"pads": [1] * 4}),
        node("Transpose", ["stacked"], "logits", {"perm": [0, 2, 3, 1]}),
    ]
    shape, outputs = (1, ROWS, COLUMNS, 3), {"logits": (1, ROWS, COLUMNS, 2)}
    weights = {"kernel": KERNEL, "bias": BIAS}
    path = write_onnx(tmp_path / "last.onnx", nodes, weights, shape, outputs)
    found = segmenter(path, **SIGMOID)
    assert found.input_size == (COLUMNS, ROWS)
    wanted = sigmoid(logits_of(by_imagenet(noise)))[0]
    np.testing.assert_allclose(found.mask(noise), wanted, atol=1e-5)


# --- what the files say ----------------------------------------------------------------


def test_input_size_is_that_of_the_graph_else_u2nets_else_the_settings(tmp_path):
    fixed = two_channel_net(tmp_path / "fixed.onnx")
    dynamic = two_channel_net(tmp_path / "dynamic.onnx", (1, 3, "height", "width"))
    assert segmenter(fixed, **SIGMOID).input_size == (COLUMNS, ROWS)
    assert segmenter(dynamic, **SIGMOID).input_size == (320, 320)
    assert segmenter(dynamic, **SIGMOID, input_size=[64, 48]).input_size == (64, 48)
    assert segmenter(dynamic, **SIGMOID, input_size=32).input_size == (32, 32)


def test_the_json_beside_a_net_counts_and_what_is_given_counts_more(net):
    net.with_suffix(".json").write_text(json.dumps({**SIGMOID, "mean": 5, "scale": 0.5}))
    settings = SegmenterSettings.read(net, '{"scale": [1, 2, 3], "channel": 1}')
    assert (settings.mean, settings.scale) == ((5, 5, 5), (1, 2, 3))
    assert (settings.output, settings.channel) == ("logits", 1)


def test_names_and_shapes_of_a_graph_are_read_without_its_weights(tmp_path):
    path = two_channel_net(tmp_path / "net.onnx", (1, 3, "height", 24))
    graph = OnnxGraph.read(path)
    assert [(each.name, each.shape) for each in graph.inputs] == [("picture", (1, 3, 0, 24))]
    assert [each.name for each in graph.outputs] == ["logits", "shares"]


@pytest.mark.parametrize("length", [0, 1, 50, 400])
def test_a_file_that_is_cut_off_is_refused_in_a_sentence(net, length):
    net.write_bytes(net.read_bytes()[:length])
    with pytest.raises(InputError, match="no ONNX file"):
        segmenter(net)


@pytest.mark.parametrize(
    "entries, words",
    [
        ({"size": 3}, "there is no entry 'size'; the entries are prototxt, input_size"),
        ({"input_size": [0, 3]}, "input_size is .0, 3.; it is .width, height."),
        ({"mean": "gray"}, 'mean is "gray"; it is a number or three'),
        ({"scale": [1, 2]}, "a number or three"),
        ({"channels": "gbr"}, "rgb or bgr"),
        ({"channel": -1}, "counted from 0"),
        ({"activation": ["sigmoid"]}, "none, sigmoid, softmax"),
        ({"min_max": 1}, "true or false"),
        ({"output": "mask"}, "has no output 'mask'; it has logits, shares"),
        ({"channel": 2}, "has 2 channels; say which one is the person"),
        ({}, "has 2 channels; say which one is the person"),
    ],
)
def test_settings_that_do_not_fit_are_named(net, entries, words):
    with pytest.raises(InputError, match=words):
        segmenter(net, **entries)


@pytest.mark.parametrize("text", ["{,}", "[1]"])
def test_a_file_of_settings_that_is_no_object_is_refused(net, text):
    net.with_suffix(".json").write_text(text)
    with pytest.raises(InputError, match="is no JSON"):
        segmenter(net)


def test_scores_in_place_of_probabilities_are_refused_with_the_remedy(net, noise):
    with pytest.raises(InputError, match="no probabilities; set activation to sigmoid"):
        segmenter(net, channel=0).mask(noise)


def test_a_net_that_opencv_does_not_know_is_refused_with_the_remedy(tmp_path):
    shape = (1, 3, ROWS, COLUMNS)
    nodes = [node("NoLayerThatThereIs", ["picture"], "mask")]
    path = write_onnx(tmp_path / "odd.onnx", nodes, {}, shape, {"mask": shape})
    with pytest.raises(InputError, match=r"OpenCV cannot run .*pip install onnxruntime"):
        segmenter(path)


def test_onnx_runtime_gives_what_opencv_gives(net, noise):
    pytest.importorskip("onnxruntime")  # an optional extra
    by_opencv, by_onnxruntime = (
        segmenter(net, **SIGMOID, runtime=name).mask(noise) for name in ("opencv", "onnxruntime")
    )
    np.testing.assert_allclose(by_onnxruntime, by_opencv, atol=1e-5)


# --- in front of the solve -------------------------------------------------------------


@pytest.fixture(scope="module")
def selfie(tmp_path_factory) -> Path:
    """The shipped segmenter as somebody's caffemodel with its prototxt beside it."""
    folder = tmp_path_factory.mktemp("selfie")
    path = folder / "person.caffemodel"
    path.write_bytes((MADE_WEIGHTS / "selfie.caffemodel").read_bytes())
    path.with_suffix(".prototxt").write_text(NETS["selfie"].trimap_deploy.read_text())
    path.with_suffix(".json").write_text('{"output": "logit", "activation": "sigmoid"}')
    return path


@pytest.fixture(scope="module")
def photo() -> np.ndarray:
    """Head and shoulders of the astronaut."""
    return np.ascontiguousarray(read_photo(fetch("astronaut"))[:300, 60:360])


def test_a_caffemodel_says_what_caffe_says(selfie, photo):
    found = Segmenter(selfie)
    assert found.input_size == (256, 256)  # of its prototxt
    wanted = sigmoid(Predictor("selfie").person_logit(photo))
    np.testing.assert_allclose(found.mask(photo), wanted, atol=2e-3)


def test_its_matte_is_that_of_its_mask_from_outside(selfie, photo):
    found = Segmenter(selfie)
    matte = MattingSession(found).matte(photo)
    wanted = MattingSession(None).matte(photo, mask=found.mask(photo))
    np.testing.assert_array_equal(matte.probabilities, wanted.probabilities)
    np.testing.assert_array_equal(matte.alpha, wanted.alpha)
    assert matte.person_found and len(matte.faces) == 1


def test_a_turned_photo_is_turned_for_the_net(selfie, photo):
    session = MattingSession(Segmenter(selfie))
    upright = session.matte(photo).alpha
    lying = session.matte(turned(photo, 1)).alpha
    assert np.abs(turned(lying, -1) - upright).mean() < 0.01
    assert upright.mean() > 0.3


def test_nobody_is_found_where_the_net_is_certain_of_nobody(selfie):
    gray = np.full((120, 90, 3), 128, np.uint8)
    matte = MattingSession(Segmenter(selfie)).matte(gray)
    assert not matte.person_found and not matte.alpha.any()


def test_segment_is_the_nets_mask_at_the_size_of_the_photo(selfie, photo):
    found = Segmenter(selfie)
    wanted = cv2.resize(found.mask(photo), photo.shape[1::-1], interpolation=cv2.INTER_LINEAR)
    np.testing.assert_array_equal(MattingSession(found).segment(photo), wanted)


def test_a_caffemodel_without_its_definition_is_refused(tmp_path, selfie):
    alone = tmp_path / "alone.caffemodel"
    alone.write_bytes(selfie.read_bytes())
    with pytest.raises(InputError, match=r"alone.prototxt does not exist; put it there"):
        Segmenter(alone)
    named = json.dumps({"prototxt": str(selfie.with_suffix(".prototxt")), "output": "logit"})
    assert SegmenterSettings.read(alone, named).prototxt == selfie.with_suffix(".prototxt")


def test_the_documented_settings_of_our_segmenter_work(photo, monkeypatch):
    text = (ROOT / "docs/usage.md").read_text()
    (given,) = re.findall(r'`({"prototxt": [^`]*})`', text)
    monkeypatch.chdir(ROOT)
    settings = SegmenterSettings.read(MADE_WEIGHTS / "selfie.caffemodel", given)
    wanted = sigmoid(Predictor("selfie").person_logit(photo))
    np.testing.assert_allclose(Segmenter(settings).mask(photo), wanted, atol=2e-3)


def test_a_layer_that_opencv_does_not_have_is_told_with_the_remedy():
    named = json.dumps({"prototxt": str(NETS["selfie"].deploy), "output": "logit"})
    settings = SegmenterSettings.read(MADE_WEIGHTS / "selfie.caffemodel", named)
    with pytest.raises(InputError, match='"alpha" of type "Python".; name .* without that layer'):
        Segmenter(settings)


def test_the_program_takes_a_segmenter(selfie, photo, tmp_path, capsys):
    cv2.imwrite(str(tmp_path / "photo.png"), photo)
    out = tmp_path / "alpha.png"
    arguments = [str(tmp_path / "photo.png"), "--segmenter", str(selfie), "-o", str(out)]
    assert matte_program.main([*arguments, "--output", "alpha"]) == 0
    alpha = MattingSession(Segmenter(selfie)).matte(photo).alpha
    np.testing.assert_array_equal(cv2.imread(str(out), -1), np.uint8(255 * alpha + 0.5))


@pytest.mark.parametrize("other", ["--mask", "--trimap"])
def test_a_segmenter_and_a_mask_exclude_each_other(selfie, other, capsys):
    with pytest.raises(SystemExit):
        matte_program.main(["a.jpg", "--segmenter", str(selfie), other, "b.png"])
    assert f"{other} and --segmenter exclude each other" in capsys.readouterr().err


def test_what_is_done_already_depends_on_the_net_and_its_settings(selfie, net):
    def key(path: Path, given: str | None = None) -> str:
        segmenter = SegmenterSettings.read(path, given)
        return request_keys(Request(("alpha",), segmenter=segmenter))["alpha"]

    keys = [key(selfie), key(net), key(net, '{"channel": 1}'), key(net, '{"min_max": true}')]
    assert len(set(keys)) == 4
    moved = net.rename(net.with_name("moved.onnx"))
    assert key(moved) == keys[1]
