"""Caffe nets with the weights of TensorFlow Lite models."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from caffe.proto import caffe_pb2

from data_prep.common.errors import InputError
from data_prep.common.files import atomic_write
from prototxt.netspec.blocks import border_gains
from tools.training.tflite_reader import SCALE, WeightedOperator, weighted_operators
from tools.training.weights import bilinear_kernel

# TensorFlow Lite operator -> Caffe layer and the axes of its kernel there.
CAFFE_LAYERS = {
    "CONV_2D": ("Convolution", (0, 3, 1, 2)),  # OHWI -> OIHW
    "DEPTHWISE_CONV_2D": ("Convolution", (3, 0, 1, 2)),  # 1HWC -> C1HW
    "Convolution2DTransposeBias": ("Deconvolution", (3, 0, 1, 2)),  # OHWI -> IOHW
    "TRANSPOSE_CONV": ("Deconvolution", (3, 0, 1, 2)),
}
#: Operators that a Scale layer stands for: one value of every channel is multiplied and added to.
SCALES = (SCALE, "DEPTHWISE_CONV_2D")


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
    if layer.type == "Scale":
        if operator.kind in SCALES and operator.kernel.size == operator.bias.size:
            return operator.kernel.ravel()
        raise _other_model(layer, operator, source)
    size = layer.convolution_param.kernel_size[0]
    if kind == layer.type:
        kernel = operator.kernel.transpose(axes)
        grown = size - kernel.shape[2]
        if grown in (0, 1):
            # Stride 2: see prototxt/netspec/selfie.py on TensorFlow's padding.
            return np.pad(kernel, ((0, 0), (0, 0), (grown, 0), (grown, 0)))
    raise _other_model(layer, operator, source)


def _other_model(
    layer: caffe_pb2.LayerParameter, operator: WeightedOperator, source: str
) -> InputError:
    size = (
        "" if layer.type == "Scale" else f" of kernel size {layer.convolution_param.kernel_size[0]}"
    )
    return InputError(
        f"{operator.name} ({operator.kind}, {operator.kernel.shape}) is no {layer.type}{size} as "
        f"layer {layer.name} wants: this is another model than the one {source} describes."
    )


def enlarging_kernels(layer: caffe_pb2.LayerParameter) -> np.ndarray:
    """Kernels, one for each channel, of a layer that enlarges a map.

    They repeat every pixel where windows do not overlap, else they are bilinear.
    """
    size, stride = layer.convolution_param.kernel_size[0], layer.convolution_param.stride[0]
    kernel = np.ones((size, size)) if size == stride else bilinear_kernel(size)
    return np.broadcast_to(kernel, (layer.convolution_param.num_output, 1, size, size))


def clamping_weights(
    net: caffe_pb2.NetParameter, sides: Mapping[str, int]
) -> dict[str, list[np.ndarray]]:
    """Weights of the layers that clamp the borders of enlarged maps.

    Parameters
    ----------
    net : NetParameter
    sides : mapping of str to int
        Layer of `prototxt.netspec.blocks.enlarge_bilinear` -> rows and columns of its map.
    """
    layers = {layer.name: layer for layer in net.layer}
    factors = {name: layers[f"{name}_unclamped"].convolution_param.stride[0] for name in sides}
    return {name: [border_gains(side, factors[name])] for name, side in sides.items()}


def converted_weights(
    net: caffe_pb2.NetParameter,
    model: Path,
    source: str,
    given: Sequence[str] = (),
    part: slice = slice(None),
) -> dict[str, list[np.ndarray]]:
    """Weights of the learned layers of a net, from a model with the same ones.

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
        Which of the model's weighted operators are the net's; all by default.

    Returns
    -------
    dict
        Layer name -> [kernel] (`enlarging_kernels`) or [kernel, bias].

    Raises
    ------
    InputError
        If the file holds another model.
    """
    weights, learned = {}, []
    for layer in net.layer:
        if layer.type == "Deconvolution" and not layer.convolution_param.bias_term:
            weights[layer.name] = [enlarging_kernels(layer)]
        elif _is_learned(layer) and layer.name not in given:
            learned.append(layer)
    operators = list(weighted_operators(model))[part]
    if len(operators) != len(learned):
        raise InputError(
            f"{model} has {len(operators)} weighted operators, {source} "
            f"{len(learned)}: this is another model than the one it describes."
        )
    for layer, operator in zip(learned, operators):
        weights[layer.name] = [kernel_for(layer, operator, source), operator.bias]
    return weights


def _is_learned(layer: caffe_pb2.LayerParameter) -> bool:
    """Whether a layer has weights of its own; those of a Scale may come from another blob."""
    if layer.type == "Scale":
        return layer.scale_param.bias_term
    return layer.type in ("Convolution", "Deconvolution")


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


def write_net(output: Path, net: caffe_pb2.NetParameter) -> int:
    """Write a net with its weights; returns how many there are."""
    with atomic_write(output) as path:
        path.write_bytes(net.SerializeToString())
    return sum(len(blob.data) for layer in net.layer for blob in layer.blobs)
