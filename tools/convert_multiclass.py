#!/usr/bin/env python3
"""Convert MediaPipe's multiclass selfie segmenter (TFLite) to the `multiclass` Caffe net.

    tools/convert_multiclass.py [-o data/models/multiclass.caffemodel]

The net's definition is ``prototxt/netspec/multiclass.py``; this program fills in the weights.
The last two convolutions are folded into one, everything else is one layer for every kernel
of the original.  One file serves all sizes of the net's input.
"""

from __future__ import annotations

if not __package__:
    import use_venv  # noqa: F401

import argparse
from pathlib import Path

import numpy as np
from caffe.proto import caffe_pb2

from data_prep.common.assets import fetch
from data_prep.common.errors import run_program
from data_prep.common.images import refuse_overwriting
from data_prep.common.options import named_path
from prototxt.catalog import MULTICLASS, MULTICLASS_WEIGHTS
from prototxt.netspec import multiclass
from tools.training.conversion import (
    caffemodel,
    clamping_weights,
    converted_weights,
    write_net,
)
from tools.training.tflite_reader import weighted_operators

SOURCE = "prototxt/netspec/multiclass.py"

#: The folded layer, and what the original has in its place.
FOLDED, FOLDED_OPERATORS = "class_score", 2


def multiclass_model(model: Path) -> caffe_pb2.NetParameter:
    """The `multiclass` net with weights, and beside them those that nets of other sides add.

    Parameters
    ----------
    model : Path
        The segmenter, a TensorFlow Lite file.

    Raises
    ------
    InputError
        If the file holds another model.
    """
    doubling, pointwise = list(weighted_operators(model))[-FOLDED_OPERATORS:]
    folded = multiclass.score_kernel(
        (doubling.kernel, doubling.bias), (pointwise.kernel[:, 0, 0], pointwise.bias)
    )
    first, *others = (weighted_net(side, model, folded) for side in MULTICLASS)
    names = {layer.name for layer in first.layer}
    for net in others:
        first.layer.extend(each for each in net.layer if each.blobs and each.name not in names)
    return first


def weighted_net(
    side: int, model: Path, folded: tuple[np.ndarray, np.ndarray]
) -> caffe_pb2.NetParameter:
    """The net of one side with its weights; `folded` are those of its last layer."""
    net = multiclass.deploy(side)
    weights = converted_weights(net, model, SOURCE, (FOLDED,), slice(-FOLDED_OPERATORS))
    weights[FOLDED] = list(folded)
    of_maps = dict.fromkeys(multiclass.enlarged(side).values(), side // 2)
    return caffemodel(net, weights | clamping_weights(net, of_maps), net.name)


def main(argv: list[str] | None = None) -> int:
    """Fetch the segmenter, convert it, write the caffemodel."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("model", nargs="?", type=named_path, help="TFLite file (fetched)")
    parser.add_argument("-o", "--output", type=named_path, default=MULTICLASS_WEIGHTS)
    options = parser.parse_args(argv)

    model = options.model or fetch("multiclass-segmenter")
    refuse_overwriting([options.output], [model])
    count = write_net(options.output, multiclass_model(model))
    print(f"{options.output}: {count} weights")
    return 0


if __name__ == "__main__":
    raise SystemExit(run_program(main))
