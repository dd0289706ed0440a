"""The converted multiclass segmenter against its original."""

from __future__ import annotations

from pathlib import Path

import caffe
import cv2
import numpy as np
import pytest
from ai_edge_litert.interpreter import Interpreter
from checkout import ROOT

from data_prep.common.assets import fetch
from data_prep.common.errors import InputError
from data_prep.common.images import read_photo
from prototxt.catalog import MULTICLASS, PERSON_CLASSES
from prototxt.netspec.multiclass import enlarged, score_kernel
from tools import convert_multiclass

SAMPLES = ROOT / "data/sample/images"
SIDE = min(MULTICLASS)  # the original's
PHOTOS = ["astronaut", *sorted(path.name for path in SAMPLES.iterdir())[::15]]


def image_of(name: str, side: int = SIDE) -> np.ndarray:
    """A photo as the nets want it: (3, side, side) RGB in [-1, 1]."""
    photo = read_photo(fetch(name) if name == "astronaut" else SAMPLES / name)
    small = cv2.resize(photo, (side, side), interpolation=cv2.INTER_AREA)
    return np.ascontiguousarray(small[:, :, ::-1].transpose(2, 0, 1)) / np.float32(127.5) - 1


@pytest.fixture(scope="module")
def weights(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("multiclass") / "multiclass.caffemodel"
    assert convert_multiclass.main(["-o", str(path)]) == 0
    return path


def answer(image: np.ndarray) -> np.ndarray:
    """(6, side, side) scores of the original."""
    original = Interpreter(str(fetch("multiclass-segmenter")))
    original.allocate_tensors()
    given, found = original.get_input_details()[0], original.get_output_details()[0]
    original.set_tensor(given["index"], np.ascontiguousarray(image.transpose(1, 2, 0)[None]))
    original.invoke()
    return original.get_tensor(found["index"])[0].transpose(2, 0, 1)


def by_caffe(weights: Path, image: np.ndarray) -> np.ndarray:
    net = caffe.Net(str(MULTICLASS[image.shape[1]].deploy), str(weights), caffe.TEST)
    net.blobs["data"].data[0] = image
    return net.forward()["class_score"][0]


def by_opencv(weights: Path, image: np.ndarray) -> np.ndarray:
    net = cv2.dnn.readNetFromCaffe(str(MULTICLASS[image.shape[1]].deploy), str(weights))
    net.setInput(image[None])
    return net.forward()[0]


@pytest.mark.parametrize("run", [by_caffe, by_opencv])
@pytest.mark.parametrize("name", PHOTOS)
def test_the_net_equals_its_original(weights, name, run):
    image = image_of(name)
    wanted = answer(image)
    assert wanted.shape[0] == 1 + len(PERSON_CLASSES)
    assert len(np.unique(wanted.argmax(axis=0))) >= 4  # classes that are there to be confused
    np.testing.assert_allclose(run(weights, image), wanted, atol=1e-3)


@pytest.mark.parametrize("name", PHOTOS)
def test_more_pixels_show_the_same_people(weights, name):
    sides = [side for side in MULTICLASS if side != SIDE]
    assert sides
    smaller = by_caffe(weights, image_of(name)).argmax(axis=0) > 0
    for side in sides:
        larger = by_caffe(weights, image_of(name, side)).argmax(axis=0) > 0
        reduced = cv2.resize(larger.astype(np.float32), (SIDE, SIDE)) > 0.5
        assert (smaller & reduced).sum() > 0.9 * (smaller | reduced).sum()


@pytest.mark.parametrize("side", MULTICLASS)
def test_enlarged_maps_are_clamped_at_borders_for_every_side(weights, side):
    """What is even stays even up to the borders."""
    net = caffe.Net(str(MULTICLASS[side].deploy), str(weights), caffe.TEST)
    for name in enlarged(side).values():
        unclamped = f"{name}_unclamped"
        net.blobs[net.bottom_names[unclamped][0]].data[...] = 3
        net.forward(start=unclamped, end=name)
        np.testing.assert_allclose(net.blobs[name].data, 3, rtol=1e-6)


def test_a_score_is_a_transposed_convolution_and_a_pointwise_one():
    random = np.random.default_rng(0)
    channels, middle, outputs, side = 5, 4, 3, 6
    coarse = random.normal(size=(side, side, channels))
    kernel, bias = random.normal(size=(middle, 2, 2, channels)), random.normal(size=middle)
    mix, mix_bias = random.normal(size=(outputs, middle)), random.normal(size=outputs)
    wanted, found = np.zeros((2, outputs, 2 * side, 2 * side))
    folded, folded_bias = score_kernel((kernel, bias), (mix, mix_bias))
    for y, x, i, j in np.ndindex(side, side, 2, 2):
        fine = kernel[:, i, j] @ coarse[y, x] + bias
        wanted[:, 2 * y + i, 2 * x + j] = mix @ fine + mix_bias
        found[:, 2 * y + i, 2 * x + j] = coarse[y, x] @ folded[:, :, i, j] + folded_bias
    np.testing.assert_allclose(found, wanted, atol=1e-12)


def test_another_file_is_refused(tmp_path):
    with pytest.raises(InputError, match="this is another model"):
        convert_multiclass.main([str(fetch("selfie-segmenter")), "-o", str(tmp_path / "net")])
    assert not list(tmp_path.iterdir())


def test_a_model_that_is_missing_is_named(tmp_path):
    with pytest.raises(InputError, match="none.tflite does not exist"):
        convert_multiclass.main([str(tmp_path / "none.tflite"), "-o", str(tmp_path / "net")])
