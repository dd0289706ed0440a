#!/usr/bin/env python3
"""Convert MediaPipe's person detector and person mask (TFLite) to Caffe nets.

    tools/convert_pose.py [-o data/models]

The nets' definition is ``prototxt/netspec/pose.py``; this program fills in the weights of
`pose_detector` and of `person_mask`, which is the part of the pose landmarker that gives its
segmentation.  Heads of the detector are folded into one convolution each, everything else
is one layer for every kernel of the original.
"""

from __future__ import annotations

if not __package__:
    import use_venv  # noqa: F401

import argparse
from pathlib import Path

from caffe.proto import caffe_pb2

from data_prep.common.assets import fetch
from data_prep.common.errors import run_program
from data_prep.common.images import refuse_overwriting
from data_prep.common.options import named_path
from prototxt.catalog import PERSON_MASK, POSE_ANCHORS, POSE_DETECTOR
from prototxt.netspec import pose
from tools.training.conversion import (
    caffemodel,
    clamping_weights,
    converted_weights,
    write_net,
)
from tools.training.tflite_reader import weighted_operators

SOURCE = "prototxt/netspec/pose.py"

#: Heads of the detector, in the order in which the original has them.
HEADS = tuple(f"{kind}{stride}" for stride in POSE_ANCHORS for kind in ("score", "people"))
#: Rows and columns of the enlarged maps of the mask's decoder.
SIDES = {"decode16_up": 16, "decode8_up": 32, "decode4_up": 64, "decode2_up": 128, "decode1": 256}


def pose_detector_model(model: Path) -> caffe_pb2.NetParameter:
    """The `pose_detector` net with weights.

    Parameters
    ----------
    model : Path
        The detector, a TensorFlow Lite file.

    Raises
    ------
    InputError
        If the file holds another model.
    """
    net = pose.detector_deploy()
    # Every head has two convolutions there.
    weights = converted_weights(net, model, SOURCE, HEADS, slice(-2 * len(HEADS)))
    operators = list(weighted_operators(model))[-2 * len(HEADS) :]
    for name, deep, flat in zip(HEADS, operators[::2], operators[1::2]):
        weights[name] = list(
            pose.head_kernel((deep.kernel[0], deep.bias), (flat.kernel[:, 0, 0], flat.bias))
        )
    return caffemodel(net, weights, net.name)


def person_mask_model(model: Path) -> caffe_pb2.NetParameter:
    """The `person_mask` net with weights.

    Parameters
    ----------
    model : Path
        The landmarker, a TensorFlow Lite file.  Landmarks, which it finds after the mask, are left
        out.

    Raises
    ------
    InputError
        If the file holds another model.
    """
    net = pose.person_mask_deploy()
    layers = sum(layer.type == "Convolution" for layer in net.layer)
    weights = converted_weights(net, model, SOURCE, part=slice(layers))
    return caffemodel(net, weights | clamping_weights(net, SIDES), net.name)


def main(argv: list[str] | None = None) -> int:
    """Fetch both models, convert them, write the caffemodels."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--detector", type=named_path, help="TFLite file (fetched)")
    parser.add_argument("--landmarker", type=named_path, help="TFLite file (fetched)")
    parser.add_argument("-o", "--output", type=named_path, default=POSE_DETECTOR.weights.parent)
    options = parser.parse_args(argv)

    detector = options.detector or fetch("pose-detector")
    landmarker = options.landmarker or fetch("pose-landmarker")
    outputs = [options.output / net.weights.name for net in (POSE_DETECTOR, PERSON_MASK)]
    refuse_overwriting(outputs, [detector, landmarker])
    models = pose_detector_model(detector), person_mask_model(landmarker)
    for output, net in zip(outputs, models):
        print(f"{output}: {write_net(output, net)} weights")
    return 0


if __name__ == "__main__":
    raise SystemExit(run_program(main))
