"""The converted face detector against its original."""

from __future__ import annotations

import caffe
import cv2
import numpy as np
import pytest
from ai_edge_litert.interpreter import Interpreter
from checkout import ROOT

from data_prep.common.assets import fetch
from data_prep.common.errors import InputError
from data_prep.common.images import read_photo
from prototxt.catalog import FACE_DETECTOR
from prototxt.netspec.face_detector import NET_SIDE
from tools import convert_face_detector
from tools.matting.face_boxes import unpacked

SAMPLES = ROOT / "data/sample/images"
PHOTOS = ["astronaut", *sorted(path.name for path in SAMPLES.iterdir())[::10]]


def photo_of(name: str) -> np.ndarray:
    return read_photo(fetch(name) if name == "astronaut" else SAMPLES / name)


def net_input(photo: np.ndarray) -> np.ndarray:
    """(192, 192, 3) RGB in [-1, 1]."""
    small = cv2.resize(photo, (NET_SIDE, NET_SIDE), interpolation=cv2.INTER_AREA)
    return small[:, :, ::-1].astype(np.float32) / 127.5 - 1


@pytest.fixture(scope="module")
def original() -> Interpreter:
    interpreter = Interpreter(str(fetch("face-detector")))
    interpreter.allocate_tensors()
    return interpreter


def answer_of(original: Interpreter, image: np.ndarray) -> dict[int, np.ndarray]:
    """The original's outputs, (2304, K), by K."""
    original.set_tensor(original.get_input_details()[0]["index"], image[None])
    original.invoke()
    outputs = [original.get_tensor(each["index"])[0] for each in original.get_output_details()]
    return {output.shape[1]: output for output in outputs}


@pytest.fixture(scope="module")
def caffe_net(tmp_path_factory) -> caffe.Net:
    weights = tmp_path_factory.mktemp("face_detector") / "full.caffemodel"
    model = convert_face_detector.face_detector_model(fetch("face-detector"))
    weights.write_bytes(model.SerializeToString())
    return caffe.Net(str(FACE_DETECTOR.deploy), str(weights), caffe.TEST)


def by_caffe(net: caffe.Net, image: np.ndarray) -> list[np.ndarray]:
    net.blobs["data"].data[0] = image.transpose(2, 0, 1)
    net.forward()
    return [net.blobs[name].data[0].copy() for name in ("score", "box")]


def by_opencv(image: np.ndarray) -> list[np.ndarray]:
    net = cv2.dnn.readNetFromCaffe(str(FACE_DETECTOR.deploy), str(FACE_DETECTOR.weights))
    net.setInput(np.ascontiguousarray(image.transpose(2, 0, 1)[None]))
    return [output[0] for output in net.forward(["score", "box"])]


@pytest.mark.parametrize("name", PHOTOS)
def test_caffe_and_opencv_equal_the_tflite_original(caffe_net, original, name):
    image = net_input(photo_of(name))
    wanted = answer_of(original, image)
    assert wanted[1].max() > 0  # logit of a face
    for score, box in (by_caffe(caffe_net, image), by_opencv(image)):
        assert np.abs(unpacked(score).reshape(-1, 1) - wanted[1]).max() < 1e-3
        assert np.abs(unpacked(box).reshape(-1, 16) - wanted[16]).max() < 1e-2  # pixels


def test_the_shipped_weights_are_those_of_the_original(tmp_path):
    written = tmp_path / "again.caffemodel"
    convert_face_detector.main(["-o", str(written)])
    assert written.read_bytes() == FACE_DETECTOR.weights.read_bytes()


def test_another_file_is_refused(tmp_path):
    output = tmp_path / "x.caffemodel"
    with pytest.raises(InputError, match="this is another model"):
        convert_face_detector.main([str(fetch("selfie-segmenter")), "-o", str(output)])
    assert not output.exists()
