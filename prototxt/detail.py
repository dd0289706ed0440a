"""The `portrait_detail` net: what the matting solve leaves wrong in the unknown region.

The closed-form matte is linear in the colors of every 3 x 3 window.  Where hair and
background do not keep to that it is wrong even with the true trimap: strands fade, and
what shines through between them is gray.  A small net sees the photo, the matte A and
the certain F and B, and says in the unknown region U = 1 - F - B by how much to change:

    A' = A + U r

Known pixels stay as they are.  r starts at 0, so an untrained net changes nothing.  It is
convolutional and looks `REACH` pixels far: it is trained on pieces of portraits, and a
photo can be given to it in pieces.
"""

from __future__ import annotations

from caffe import NetSpec
from caffe import layers as L
from caffe import params as P
from caffe.net_spec import Top
from caffe.proto import caffe_pb2

from prototxt.blocks import LEARNED, MEAN_BGR, conv_relu, lmdb_data, max_pool
from prototxt.selfie import named

#: Folder of the databases that tools/detail_data.py writes.
PREPARED = "data/prepared_detail"
SIDE = 128  # pixels of a training piece
#: What the net looks at lies this near.  (Exact: a test moves single pixels.)
REACH = 20
#: Pieces of a photo begin at multiples of this, so that all meet the same grid.
GRID = 4
# Of a training piece the middle counts: beside a piece the net sees zeros, and a photo
# has a repeated border there.
MARGIN = 16

BATCH_SIZE = 8
COARSE, FINE = 32, 16  # channels at a half and a quarter of the photo's size; at its own
COLOR_SCALE = 1 / 255
# The mean gradient error of a piece is a quarter of its mean difference, or less.
GRADIENT_WEIGHT = 4


def relu_of(n: NetSpec, name: str, layer: Top) -> Top:
    """Name a layer and rectify it in place."""
    n[name] = layer
    n[f"{name}_relu"] = L.ReLU(layer, in_place=True)
    return n[f"{name}_relu"]


def convolved(n: NetSpec, name: str, bottom: Top, channels: int = COARSE) -> Top:
    """3 x 3 convolution and ReLU."""
    n[name], n[f"{name}_relu"] = conv_relu(bottom, channels)
    return n[f"{name}_relu"]


def doubled(bottom: Top, channels: int) -> L.Deconvolution:
    """Features of twice the size: each pixel becomes four."""
    return L.Deconvolution(
        bottom, param=LEARNED,
        convolution_param=dict(
            num_output=channels, kernel_size=2, stride=2, weight_filler=dict(type="msra")
        ),
    )  # fmt: skip


def per_pixel(bottom: Top, channels: int, **filler) -> L.Convolution:
    """1 x 1 convolution."""
    return L.Convolution(bottom, num_output=channels, kernel_size=1, param=LEARNED, **filler)


def refined(n: NetSpec) -> Top:
    """Blob ``refined`` (A', not clipped) from ``image``, ``alpha`` and ``known`` (F and B).

    Rows and columns must be multiples of `GRID`.  Of every 2 x 2 pixels the features
    are together: at the photo's own size a layer costs four times as much, so there
    each pixel only adds what it is itself.
    """
    n.input = L.Concat(n.image, n.alpha, n.known)
    blocks = L.Convolution(
        n.input, num_output=COARSE, kernel_size=4, stride=2, pad=1, param=LEARNED,
        weight_filler=dict(type="msra"),
    )  # fmt: skip
    half = convolved(n, "half", relu_of(n, "blocks", blocks))
    n.quarter = max_pool(half)
    quarter = n.quarter
    for i in range(3):
        quarter = convolved(n, f"quarter_{i + 1}", quarter)
    n.up_half = doubled(quarter, COARSE)
    n.half_joint = L.Eltwise(n.up_half, half)
    n.up_full = doubled(convolved(n, "half_2", n.half_joint), FINE)
    n.pixel = per_pixel(n.input, FINE, weight_filler=dict(type="msra"))
    joint = relu_of(n, "joint", L.Eltwise(n.up_full, n.pixel))
    n.residual = per_pixel(joint, 1)  # without filler: zeros
    n.foreground, n.background = L.Slice(
        n.known, ntop=2, slice_param=dict(axis=1, slice_point=[1])
    )
    n.certain = L.Eltwise(n.foreground, n.background)
    n.unknown = L.Power(n.certain, scale=-1, shift=1)
    n.change = L.Eltwise(n.residual, n.unknown, operation=P.Eltwise.PROD)
    n.refined = L.Eltwise(n.alpha, n.change)
    return n.refined


def train_val() -> caffe_pb2.NetParameter:
    """Net definition for `caffe train`, both phases: mean difference and gradient error."""
    n, test = NetSpec(), NetSpec()
    for phase, net in (("train", n), ("test", test)):
        net.image = lmdb_data(
            phase, "image", BATCH_SIZE, PREPARED, mean_value=list(MEAN_BGR), scale=COLOR_SCALE
        )
        net.solved = lmdb_data(phase, "solved", BATCH_SIZE, PREPARED, scale=1 / 255)
        net.matte = lmdb_data(phase, "matte", BATCH_SIZE, PREPARED, scale=1 / 255)
    n.alpha, n.known = L.Slice(n.solved, ntop=2, slice_param=dict(axis=1, slice_point=[1]))
    refined(n)
    middle = SIDE - 2 * MARGIN
    n.middle = L.DummyData(shape=dict(dim=[1, 1, middle, middle]))
    for name in ("refined", "matte"):
        n[f"{name}_middle"] = L.Crop(n[name], n.middle, axis=2, offset=[MARGIN])
    n.difference = L.Eltwise(
        n.refined_middle, n.matte_middle, operation=P.Eltwise.SUM, coeff=[1, -1]
    )
    n.distance = L.AbsVal(n.difference)
    n.loss = L.Reduction(n.distance, operation=P.Reduction.MEAN, loss_weight=1)
    n.gradient_loss = L.Python(
        n.refined_middle, n.matte_middle, loss_weight=GRADIENT_WEIGHT,
        python_param=dict(
            module="caffe_layers.gradient_loss_layer", layer="GradientLossLayer"
        ),
    )  # fmt: skip
    proto = named(test, "portrait_detail")
    proto.layer.extend(n.to_proto().layer)
    return proto


def deploy() -> caffe_pb2.NetParameter:
    """Net definition for a piece of a photo; standard layers only."""
    n = NetSpec()
    for name, channels in (("image", 3), ("alpha", 1), ("known", 2)):
        n[name] = L.Input(shape=dict(dim=[1, channels, SIDE, SIDE]))
    refined(n)
    return named(n, "portrait_detail_deploy")
