"""PortraitFCN+ for Table 1: FCN-8s with shape and position channels, person and background.

Shen et al., "Automatic Portrait Segmentation for Image Stylization" (2016).  The channels of
``data`` are those of the released net, in its order: B, G, R, x, y, shape mask.  x and y of a
pixel are relative to the face and in its units (`caffe_layers.position`).

Class 0 is the person, as in this project's other nets; the released net's is 1.
"""

from __future__ import annotations

import json

import caffe
from caffe import layers as L
from caffe.proto import caffe_pb2

from prototxt.netspec.blocks import both_phases, lmdb_data, named
from prototxt.netspec.fcn8s import SHAPES, Shape, fcn8s_scores, input_shape, portrait_data

#: By net: its FCN-8s, a key of `prototxt.netspec.fcn8s.SHAPES`.
VARIANTS = {"portraitfcn_half": "fcn8s_half", "lite_portraitfcn": "lite"}
CHANNELS = 6
PERSON_CLASSES = 2
PERSON_ALPHA = 0.5  # above it a pixel is of the person


def portrait_and_position(phase: str, shape: Shape) -> caffe.NetSpec:
    """`portrait_data`, and the blob ``position_map`` beside it."""
    n = portrait_data(phase, shape, shape_mask=True)
    n.position_map = lmdb_data(phase, "position", shape.batch_size, shape.prepared)
    return n


def train_val(net: str) -> caffe_pb2.NetParameter:
    """Net definition for `caffe train`, both phases: softmax loss of person and background.

    Parameters
    ----------
    net : str
        A key of `VARIANTS`.
    """
    shape = SHAPES[VARIANTS[net]]
    test_data = portrait_and_position("test", shape)
    n = portrait_and_position("train", shape)
    n.position = L.Python(
        n.position_map,
        n.image,
        python_param=dict(
            module="caffe_layers.position_layer",
            layer="PositionLayer",
            param_str=json.dumps({"reduction": shape.reduction}),
        ),
    )
    n.data = L.Concat(n.image, n.position, n.mask)
    fcn8s_scores(n, shape, PERSON_CLASSES)
    n.person = L.Threshold(n.matte, threshold=PERSON_ALPHA)
    n.label = L.Power(n.person, scale=-1, shift=1)
    n.loss = L.SoftmaxWithLoss(n.score, n.label)
    return both_phases(n, test_data, f"{net}_trimap")


def deploy(net: str) -> caffe_pb2.NetParameter:
    """Net definition for one portrait: from ``data``, 1 x 6 x H x W, to ``prob``."""
    trunk = VARIANTS[net]
    n = caffe.NetSpec()
    n.data = L.Input(shape=input_shape(trunk, CHANNELS))
    fcn8s_scores(n, SHAPES[trunk], PERSON_CLASSES)
    n.prob = L.Softmax(n.score)
    return named(n, f"{net}_trimap_deploy")
