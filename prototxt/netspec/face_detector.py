"""The `face_detector` net: where faces are, and how large, in a photo.

MediaPipe's full-range face detector (Apache-2.0; `tools.convert_face_detector` reads its
weights): residual blocks of depthwise and pointwise convolutions at strides 2 to 32, and
a decoder that brings them back to stride 4.  Standard layers only, so that OpenCV reads it
too.  It has no layer that knows the input's size: rows and columns are any multiples of 32.

``score`` and ``box`` hold 2 x 2 cells of stride 4 in the channels of one cell of stride 8;
`tools.matting.face_detector` unpacks them.
"""

from __future__ import annotations

from caffe import NetSpec
from caffe import layers as L
from caffe.net_spec import Top
from caffe.proto import caffe_pb2

from prototxt.netspec.blocks import convolution, depthwise, named, relu, upsample_bilinear

NET_SIDE = 192  # rows and columns that it was trained with

# Encoder stages: channels inside and at the end of a residual block, number of blocks.
STAGES = ((16, 64, 2), (32, 128, 2), (48, 192, 2), (96, 384, 3))
#: Channels at which an encoder stage joins the decoder, and decoder stages from the coarsest:
#: channels inside and at the end of a residual block, number of blocks.
LATERALS = (48, 64, 96)
DECODER = ((48, 96, 2), (32, 64, 2), (24, 48, 1))
#: Values of a box: its center and size, and x and y of six points.
BOX_VALUES = 16


def separable(n: NetSpec, name: str, bottom: Top, wide: int, channels: int, stride: int = 1) -> Top:
    """Depthwise convolution of `wide` channels, then pointwise to `channels`."""
    deep = depthwise(n, f"{name}_depthwise", bottom, wide, stride=stride)
    return convolution(n, name, deep, channels)


def residual(n: NetSpec, name: str, bottom: Top, inside: int, channels: int) -> Top:
    """Two separable convolutions, the first to fewer channels, added to their input."""
    narrow = separable(n, f"{name}_reduce", bottom, channels, inside)
    narrow = relu(n, f"{name}_reduce", narrow)
    wide = separable(n, f"{name}_expand", narrow, inside, channels)
    n[name] = L.Eltwise(bottom, wide)
    return relu(n, name, n[name])


def stage(n: NetSpec, name: str, bottom: Top, wide: int, inside: int, channels: int) -> Top:
    """Halve the size and change the channels from `wide` to `channels`."""
    narrow = separable(n, f"{name}_reduce", bottom, wide, inside, stride=2)
    narrow = relu(n, f"{name}_reduce", narrow)
    return relu(n, name, separable(n, name, narrow, inside, channels))


def trunk(n: NetSpec, data: Top) -> Top:
    """Features of every fourth pixel, N x 48 x H/4 x W/4."""
    n.conv1 = L.Convolution(data, num_output=32, kernel_size=3, stride=2, pad=1)
    x, wide = relu(n, "conv1", n.conv1), 32
    for block in (1, 2):
        x = residual(n, f"encode1_{block}", x, 8, wide)
    lateral = {}
    for level, (inside, channels, blocks) in enumerate(STAGES, start=2):
        x = stage(n, f"encode{level}", x, wide, inside, channels)
        for block in range(1, blocks + 1):
            x = residual(n, f"encode{level}_{block}", x, inside, channels)
        wide = channels
        joined = dict(zip((2, 3, 4, 5), (*LATERALS, LATERALS[-1])))[level]
        lateral[level] = relu(n, f"lateral{level}", convolution(n, f"lateral{level}", x, joined))
    x = lateral[5]
    for level, (inside, channels, blocks) in zip((4, 3, 2), DECODER):
        up = upsample_bilinear(n, f"decode{level}_up", x, channels)
        n[f"decode{level}"] = L.Eltwise(lateral[level], up)
        x = n[f"decode{level}"]
        for block in range(1, blocks + 1):
            x = residual(n, f"decode{level}_{block}", x, inside, channels)
        if level > 2:
            name, narrower = f"decode{level}_narrow", LATERALS[level - 3]
            x = relu(n, name, convolution(n, name, x, narrower))
    return x


def deploy() -> caffe_pb2.NetParameter:
    """RGB in [-1, 1] -> N x 4 x H/8 x W/8 logits and N x 64 x H/8 x W/8 boxes."""
    n = NetSpec()
    n.data = L.Input(shape=dict(dim=[1, 3, NET_SIDE, NET_SIDE]))
    features = trunk(n, n.data)
    for name, channels in (("score", 4), ("box", 4 * BOX_VALUES)):
        flat = convolution(n, f"{name}_features", features, channels)
        depthwise(n, name, flat, channels, stride=2)
    return named(n, "face_detector")
