"""Caffe nets with the weights of TensorFlow Lite models."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from caffe.proto import caffe_pb2

from data_prep.common.errors import InputError
from tools.training.tflite_reader import WeightedOperator, weighted_operators
from tools.training.weights import bilinear_kernel

# TensorFlow Lite operator -> Caffe layer and the axes of its kernel there.
CAFFE_LAYERS = {
    "CONV_2D": ("Convolution", (0, 3, 1, 2)),  # OHWI -> OIHW
    "DEPTHWISE_CONV_2D": ("Convolution", (3, 0, 1, 2)),  # 1HWC -> C1HW
    "Convolution2DTransposeBias": ("Deconvolution", (3, 0, 1, 2)),  # OHWI -> IOHW
}


def kernel_for(
    layer: caffe_pb2.LayerParameter, operator: WeightedOperator, source: str
) -> np.ndarray:
    """Kernel of an operator in Caffe's layout and the layer's size.

    Parameters
    ----------
    layer : LayerParameter
    operator : WeightedOperator
    source : str
        Where the net is described, for the message.

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
        f"this is another model than the one {source} describes."
    )


def upsampling_kernels(channels: int) -> np.ndarray:
    """Kernels of the x2 upsampling, one for each channel."""
    return np.broadcast_to(bilinear_kernel(4), (channels, 1, 4, 4))


def converted_weights(
    net: caffe_pb2.NetParameter,
    model: Path,
    source: str,
    given: Sequence[str] = (),
    part: slice = slice(None),
) -> dict[str, list[np.ndarray]]:
    """Weights of the convolutions of a net, from a model with the same ones.

    Parameters
    ----------
    net : NetParameter
        Names its learned layers in the order in which the model evaluates them.
    model : Path
        A TensorFlow Lite file.
    source : str
        Where the net is described, for messages.
    given : sequence of str
        Layers that the model does not have.
    part : slice
        Which of the model's convolutions are the net's; all by default.

    Returns
    -------
    dict
        Layer name -> [kernel] (bilinear upsampling) or [kernel, bias].

    Raises
    ------
    InputError
        If the file holds another model.
    """
    weights, learned = {}, []
    for layer in net.layer:
        if layer.type == "Deconvolution" and not layer.convolution_param.bias_term:
            weights[layer.name] = [upsampling_kernels(layer.convolution_param.num_output)]
        elif layer.type in ("Convolution", "Deconvolution") and layer.name not in given:
            learned.append(layer)
    operators = list(weighted_operators(model))[part]
    if len(operators) != len(learned):
        raise InputError(
            f"{model} has {len(operators)} convolutions, {source} "
            f"{len(learned)}: this is another model than the one it describes."
        )
    for layer, operator in zip(learned, operators):
        weights[layer.name] = [kernel_for(layer, operator, source), operator.bias]
    return weights


def caffemodel(
    net: caffe_pb2.NetParameter, weights: dict[str, list[np.ndarray]], name: str
) -> caffe_pb2.NetParameter:
    """Copy of a net definition with a name and weights in it."""
    model = caffe_pb2.NetParameter()
    model.CopyFrom(net)
    model.name = name
    for layer in model.layer:
        for array in weights.get(layer.name, ()):
            blob = layer.blobs.add()
            blob.shape.dim.extend(array.shape)
            blob.data.extend(np.asarray(array, np.float32).ravel().tolist())
    return model
