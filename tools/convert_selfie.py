#!/usr/bin/env python3
"""Convert the MediaPipe person segmenter (TFLite) to the `selfie` Caffe net.

    tools/convert_selfie.py [-o data/models/selfie.caffemodel]

The net's definition is ``prototxt/netspec/selfie.py``; this program fills in its
weights.  Nothing is folded: every kernel of the original is one layer.
"""

from __future__ import annotations

if not __package__:
    import use_venv  # noqa: F401

import argparse
import os
from pathlib import Path

import numpy as np

os.environ.setdefault("GLOG_minloglevel", "2")  # before caffe is imported
from caffe.proto import caffe_pb2

from data_prep.common.assets import fetch
from data_prep.common.errors import InputError, run_program
from data_prep.common.files import atomic_write
from data_prep.common.images import refuse_overwriting
from prototxt.catalog import MADE_WEIGHTS, MEAN_BGR, score_weights
from prototxt.netspec import selfie
from tools.training.tflite_reader import WeightedOperator, weighted_operators
from tools.training.weights import bilinear_kernel

DEFAULT_OUTPUT = MADE_WEIGHTS / "selfie.caffemodel"

# TensorFlow Lite operator -> Caffe layer and the axes of its kernel there.
CAFFE_LAYERS = {
    "CONV_2D": ("Convolution", (0, 3, 1, 2)),  # OHWI -> OIHW
    "DEPTHWISE_CONV_2D": ("Convolution", (3, 0, 1, 2)),  # 1HWC -> C1HW
    "Convolution2DTransposeBias": ("Deconvolution", (3, 0, 1, 2)),  # OHWI -> IOHW
}


def kernel_for(layer: caffe_pb2.LayerParameter, operator: WeightedOperator) -> np.ndarray:
    """Kernel of an operator in Caffe's layout and the layer's size.

    Raises
    ------
    InputError
        If the operator is not the layer's.
    """
    kind, axes = CAFFE_LAYERS.get(operator.kind, (None, None))
    size = layer.convolution_param.kernel_size[0]
    if kind == layer.type:
        kernel = operator.kernel.transpose(axes)
        grown = size - kernel.shape[2]
        if grown in (0, 1):
            # Stride 2: see prototxt/netspec/selfie.py on TensorFlow's padding.
            return np.pad(kernel, ((0, 0), (0, 0), (grown, 0), (grown, 0)))
    raise InputError(
        f"{operator.name} ({operator.kind}, {operator.kernel.shape}) is no "
        f"{layer.type} of kernel size {size} as layer {layer.name} wants: "
        "this is another model than the one prototxt/netspec/selfie.py describes."
    )


def rgb_weights() -> tuple[np.ndarray, np.ndarray]:
    """Kernel and bias of layer `rgb`: BGR minus mean, 0-255, to RGB in [0, 1]."""
    kernel = np.eye(3)[::-1] / 255
    return kernel[:, :, None, None], np.array(MEAN_BGR[::-1]) / 255


def bilinear_weights(channels: int) -> np.ndarray:
    """Kernels of the x2 upsampling, one for each channel."""
    return np.broadcast_to(bilinear_kernel(4), (channels, 1, 4, 4))


def selfie_weights(model: Path) -> dict[str, list[np.ndarray]]:
    """Weights of every layer of the `selfie` net.

    Parameters
    ----------
    model : Path
        The segmenter, a TensorFlow Lite file.

    Returns
    -------
    dict
        Layer name -> [kernel] or [kernel, bias].

    Raises
    ------
    InputError
        If the file holds another model.
    """
    kernel, bias = score_weights()
    weights = {"rgb": list(rgb_weights()), "score": [kernel[:, :, None, None], bias]}
    learned = []
    for layer in selfie.selfie_trimap_deploy().layer:
        if layer.type == "Deconvolution" and not layer.convolution_param.bias_term:
            weights[layer.name] = [bilinear_weights(layer.convolution_param.num_output)]
        elif layer.type in ("Convolution", "Deconvolution") and layer.name not in weights:
            learned.append(layer)
    operators = list(weighted_operators(model))
    if len(operators) != len(learned):
        raise InputError(
            f"{model} has {len(operators)} convolutions, prototxt/netspec/selfie.py "
            f"{len(learned)}: this is another model than the one it describes."
        )
    # Both name them in the order of evaluation.
    for layer, operator in zip(learned, operators):
        weights[layer.name] = [kernel_for(layer, operator), operator.bias]
    return weights


def caffemodel(
    net: caffe_pb2.NetParameter, weights: dict[str, list[np.ndarray]]
) -> caffe_pb2.NetParameter:
    """Copy of a net definition with weights in it."""
    model = caffe_pb2.NetParameter()
    model.CopyFrom(net)
    model.name = "selfie"
    for layer in model.layer:
        for array in weights.get(layer.name, ()):
            blob = layer.blobs.add()
            blob.shape.dim.extend(array.shape)
            blob.data.extend(np.asarray(array, np.float32).ravel().tolist())
    return model


def main(argv: list[str] | None = None) -> int:
    """Fetch the segmenter, convert it, write the caffemodel."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("model", nargs="?", type=Path, help="TFLite file (fetched)")
    parser.add_argument("-o", "--output", type=Path, default=DEFAULT_OUTPUT)
    options = parser.parse_args(argv)

    model = options.model or fetch("selfie-segmenter")
    refuse_overwriting([options.output], [model])
    weights = selfie_weights(model)
    net = caffemodel(selfie.selfie_trimap_deploy(), weights)
    with atomic_write(options.output) as path:
        path.write_bytes(net.SerializeToString())
    count = sum(array.size for arrays in weights.values() for array in arrays)
    print(f"{options.output}: {len(weights)} layers, {count} weights")
    return 0


if __name__ == "__main__":
    raise SystemExit(run_program(main))
