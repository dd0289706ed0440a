#!/usr/bin/env python3
"""Convert the MediaPipe full-range face detector (TFLite) to the `face_detector` Caffe net.

    tools/convert_face_detector.py [-o data/weights/face_detector.caffemodel]

The net's definition is ``prototxt/netspec/face_detector.py``; this program fills in its
weights.  They stay what they are in the original, 16-bit floating-point numbers; OpenCV
reads such files, Caffe itself does not.
"""

from __future__ import annotations

if not __package__:
    import use_venv  # noqa: F401

import argparse
import tempfile
from pathlib import Path

import cv2
from caffe.proto import caffe_pb2

from data_prep.common.assets import fetch
from data_prep.common.errors import run_program
from data_prep.common.files import atomic_write
from data_prep.common.images import refuse_overwriting
from data_prep.common.options import named_path
from prototxt.catalog import FACE_DETECTOR
from prototxt.netspec import face_detector
from tools.training.conversion import caffemodel, converted_weights

SOURCE = "prototxt/netspec/face_detector.py"


def face_detector_model(model: Path) -> caffe_pb2.NetParameter:
    """The `face_detector` net with 32-bit weights.

    Parameters
    ----------
    model : Path
        The detector, a TensorFlow Lite file.

    Raises
    ------
    InputError
        If the file holds another model.
    """
    net = face_detector.deploy()
    return caffemodel(net, converted_weights(net, model, SOURCE), net.name)


def main(argv: list[str] | None = None) -> int:
    """Fetch the detector, convert it, write the caffemodel."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("model", nargs="?", type=named_path, help="TFLite file (fetched)")
    parser.add_argument("-o", "--output", type=named_path, default=FACE_DETECTOR.weights)
    options = parser.parse_args(argv)

    model = options.model or fetch("face-detector")
    refuse_overwriting([options.output], [model])
    net = face_detector_model(model)
    with tempfile.TemporaryDirectory() as folder, atomic_write(options.output) as path:
        full = Path(folder, "full.caffemodel")
        full.write_bytes(net.SerializeToString())
        cv2.dnn.shrinkCaffeModel(str(full), str(path), ["Convolution", "Deconvolution"])
    count = sum(len(blob.data) for layer in net.layer for blob in layer.blobs)
    print(f"{options.output}: {count} weights")
    return 0


if __name__ == "__main__":
    raise SystemExit(run_program(main))
