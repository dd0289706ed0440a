"""The converted person detector and person mask against their originals."""

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
from prototxt.catalog import (
    PERSON_MASK,
    PERSON_MASK_SIDE,
    POSE_ANCHORS,
    POSE_DETECTOR,
    POSE_DETECTOR_SIDE,
)
from prototxt.netspec.pose import head_kernel
from tools import convert_pose

SAMPLES = ROOT / "data/sample/images"
PHOTOS = ["astronaut", *sorted(path.name for path in SAMPLES.iterdir())[::15]]


def photo_of(name: str) -> np.ndarray:
    return read_photo(fetch(name) if name == "astronaut" else SAMPLES / name)


def planes(photo: np.ndarray, side: int) -> np.ndarray:
    """(3, side, side) RGB in [0, 1]."""
    small = cv2.resize(photo, (side, side), interpolation=cv2.INTER_AREA)
    return np.float32(small[:, :, ::-1].transpose(2, 0, 1)) / 255


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("pose")
    assert convert_pose.main(["-o", str(folder)]) == 0
    return folder


def answers(asset: str, image: np.ndarray) -> dict[tuple[int, ...], np.ndarray]:
    """All outputs of an original, by their shapes."""
    original = Interpreter(str(fetch(asset)))
    original.allocate_tensors()
    original.set_tensor(
        original.get_input_details()[0]["index"],
        np.ascontiguousarray(image.transpose(1, 2, 0)[None]),
    )
    original.invoke()
    outputs = [original.get_tensor(each["index"])[0] for each in original.get_output_details()]
    return {output.shape: output for output in outputs}


def by_caffe(deploy: Path, weights: Path, image: np.ndarray, names: list[str]) -> list[np.ndarray]:
    net = caffe.Net(str(deploy), str(weights), caffe.TEST)
    net.blobs["data"].data[0] = image
    net.forward()
    return [net.blobs[name].data[0].copy() for name in names]


def by_opencv(deploy: Path, weights: Path, image: np.ndarray, names: list[str]) -> list[np.ndarray]:
    net = cv2.dnn.readNetFromCaffe(str(deploy), str(weights))
    net.setInput(image[None])
    return [output[0] for output in net.forward(names)]


@pytest.mark.parametrize("run", [by_caffe, by_opencv])
@pytest.mark.parametrize("name", PHOTOS)
def test_the_detector_equals_its_original(folder, name, run):
    image = 2 * planes(photo_of(name), POSE_DETECTOR_SIDE) - 1
    wanted = answers("pose-detector", image)
    for kind, values in (("score", 1), ("people", 12)):
        names = [f"{kind}{stride}" for stride in POSE_ANCHORS]
        found = run(POSE_DETECTOR.deploy, folder / POSE_DETECTOR.weights.name, image, names)
        found = [each.transpose(1, 2, 0).reshape(-1, values) for each in found]
        np.testing.assert_allclose(
            np.concatenate(found), wanted[2254, values], rtol=1e-3, atol=1e-2 * values
        )


@pytest.mark.parametrize("run", [by_caffe, by_opencv])
@pytest.mark.parametrize("name", PHOTOS)
def test_the_mask_equals_its_original(folder, name, run):
    """As far as runtimes agree: the original's own two differ by 1.2 in a logit of -1600."""
    image = planes(photo_of(name), PERSON_MASK_SIDE)
    wanted = answers("pose-landmarker", image)[PERSON_MASK_SIDE, PERSON_MASK_SIDE, 1][:, :, 0]
    (found,) = run(PERSON_MASK.deploy, folder / PERSON_MASK.weights.name, image, ["logit"])
    assert wanted.max() > 0 > wanted.min()
    assert np.abs(found[0] - wanted).max() < 5e-3 * np.abs(wanted).max()
    assert np.mean((found[0] > 0) != (wanted > 0)) < 1e-3


def test_a_head_is_depth_to_space_then_two_convolutions():
    random = np.random.default_rng(0)
    channels, outputs, side = 5, 3, 6
    coarse = random.normal(size=(side, side, 4 * channels))
    deep, deep_bias = random.normal(size=(3, 3, channels)), random.normal(size=channels)
    mix, mix_bias = random.normal(size=(outputs, channels)), random.normal(size=outputs)
    # By the definitions: the fine map, padded by one, every second pixel.
    fine = coarse.reshape(side, side, 2, 2, channels).transpose(0, 2, 1, 3, 4)
    fine = np.pad(fine.reshape(2 * side, 2 * side, channels), ((1, 1), (1, 1), (0, 0)))
    wanted = np.zeros((outputs, side, side))
    for y in range(side):
        for x in range(side):
            window = fine[2 * y : 2 * y + 3, 2 * x : 2 * x + 3]
            wanted[:, y, x] = mix @ ((window * deep).sum(axis=(0, 1)) + deep_bias) + mix_bias
    kernel, bias = head_kernel((deep, deep_bias), (mix, mix_bias))
    padded = np.pad(coarse.transpose(2, 0, 1), ((0, 0), (1, 1), (1, 1)))
    found = np.zeros_like(wanted)
    for y in range(side):
        for x in range(side):
            window = padded[:, y : y + 3, x : x + 3]
            found[:, y, x] = np.tensordot(kernel, window, axes=3) + bias
    np.testing.assert_allclose(found, wanted, atol=1e-12)


@pytest.mark.parametrize("option", ["--detector", "--landmarker"])
def test_another_file_is_refused(tmp_path, option):
    with pytest.raises(InputError, match="this is another model"):
        convert_pose.main([option, str(fetch("selfie-segmenter")), "-o", str(tmp_path)])
    assert not list(tmp_path.iterdir())


def test_a_model_that_is_missing_is_named(tmp_path):
    with pytest.raises(InputError, match="none.tflite does not exist"):
        convert_pose.main(["--detector", str(tmp_path / "none.tflite"), "-o", str(tmp_path)])
