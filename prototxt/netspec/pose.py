"""The `pose_detector` and `person_mask` nets: where people stand, and which pixels are theirs.

Both are MediaPipe's (Apache-2.0; `tools.convert_pose` reads their weights).  The first finds
people by their hips and size, the second sees a square around one person, upright, and gives
that person's mask; of the original, the landmarks are left out.  Their encoders are
MobileNets of inverted residual blocks at strides 2 to 32.  Standard layers only, so that OpenCV
reads them too.

Where Caffe has no layer of the same meaning, the spelling is:

* activation min(relu(x), 6): with u = relu(6 - x) it is relu(6 - u);
* a pointwise convolution of a map of twice the size: the same of the map itself, enlarged
  afterwards, as both are linear and the weights of an interpolation sum to 1;
* the detector's heads: see `head_kernel`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from caffe import NetSpec
from caffe import layers as L
from caffe.net_spec import Top
from caffe.proto import caffe_pb2

from prototxt.catalog import PERSON_MASK_SIDE, POSE_ANCHORS, POSE_DETECTOR_SIDE
from prototxt.netspec.blocks import (
    depthwise,
    enlarge_bilinear,
    named,
    relu,
    upsample_bilinear,
)

#: Values of an anchor's person: center and size of a box, and x and y of four points.
PERSON_VALUES = 12


@dataclass(frozen=True)
class Block:
    """One inverted residual block: expand, depthwise, project."""

    kernel: int
    stride: int
    expand: int
    project: int | None  # None: it ends with the depthwise convolution
    #: Channels of what the decoder takes from its input's size, if anything.
    lateral: int | None = None


DETECTOR_BLOCKS = (
    Block(3, 2, 64, 24),
    Block(3, 1, 144, 24),
    Block(5, 2, 144, 40),
    Block(5, 1, 240, 40),
    Block(3, 2, 240, 80, lateral=96),
    Block(3, 1, 480, 80),
    Block(3, 1, 480, 80),
    Block(5, 1, 480, 112),
    Block(5, 1, 672, 112),
    Block(5, 1, 672, 112),
    Block(5, 2, 672, 192, lateral=192),
    Block(5, 1, 1152, 192),
    Block(5, 1, 1152, 192),
    Block(5, 1, 1152, 192),
    Block(3, 1, 1152, None),
)
MASK_BLOCKS = (
    Block(3, 2, 64, 24, lateral=8),
    Block(3, 1, 144, 24),
    Block(5, 2, 144, 32, lateral=48),
    Block(5, 1, 192, 32),
    Block(3, 2, 192, 64, lateral=48),
    Block(3, 1, 384, 64),
    Block(3, 1, 384, 64),
    Block(5, 1, 384, 88),
    Block(5, 1, 528, 88),
    Block(5, 1, 528, 88),
    Block(5, 2, 528, 144, lateral=48),
    Block(5, 1, 864, 144),
    Block(5, 1, 864, 144),
    Block(5, 1, 864, 144),
    Block(3, 1, 864, None),
)


def convolution(
    n: NetSpec, name: str, bottom: Top, channels: int, kernel: int = 1, stride: int = 1
) -> Top:
    """Convolution, padded alike on all sides."""
    n[name] = L.Convolution(
        bottom, num_output=channels, kernel_size=kernel, stride=stride, pad=kernel // 2
    )
    return n[name]


def relu6(n: NetSpec, name: str, bottom: Top) -> Top:
    """Activation min(relu(x), 6)."""
    n[f"{name}_below6"] = L.Power(bottom, scale=-1, shift=6)
    below = relu(n, f"{name}_below6", n[f"{name}_below6"])
    n[f"{name}_capped"] = L.Power(below, scale=-1, shift=6)
    return relu(n, f"{name}_capped", n[f"{name}_capped"])


def separable(
    n: NetSpec, name: str, bottom: Top, wide: int, channels: int, activate: bool = True
) -> Top:
    """Depthwise convolution of `wide` channels, activated or not, then pointwise to `channels`."""
    deep = depthwise(n, f"{name}_depthwise", bottom, wide)
    if activate:
        deep = relu6(n, f"{name}_depthwise", deep)
    return convolution(n, name, deep, channels)


def residual(n: NetSpec, name: str, bottom: Top, channels: int, activate: bool) -> Top:
    """A separable convolution added to its input."""
    n[f"{name}_sum"] = L.Eltwise(bottom, separable(n, name, bottom, channels, channels, activate))
    return relu6(n, f"{name}_sum", n[f"{name}_sum"])


def encoder(
    n: NetSpec, data: Top, blocks: tuple[Block, ...], activate: bool
) -> tuple[Top, list[Top]]:
    """Features at stride 32, and the laterals, the finest first.

    Parameters
    ----------
    n : NetSpec
    data : Top
    blocks : tuple of Block
    activate : bool
        Whether the depthwise convolutions of laterals are activated.
    """
    x = relu6(n, "conv1", convolution(n, "conv1", data, 24, 3, stride=2))
    x, channels = separable(n, "block1", x, 24, 16), 16
    laterals = []
    for index, block in enumerate(blocks, start=2):
        name = f"block{index}"
        wide = relu6(n, f"{name}_expand", convolution(n, f"{name}_expand", x, block.expand))
        if block.lateral is not None:
            lateral = separable(n, f"{name}_lateral", x, channels, block.lateral, activate)
            laterals.append(relu6(n, f"{name}_lateral", lateral))
        deep = depthwise(n, f"{name}_depthwise", wide, block.expand, block.kernel, block.stride)
        deep = relu6(n, f"{name}_depthwise", deep)
        if block.project is None:
            return deep, laterals
        narrow = convolution(n, f"{name}_project", deep, block.project)
        if block.stride == 1 and block.project == channels:
            n[f"{name}_sum"] = L.Eltwise(narrow, x)
            narrow = n[f"{name}_sum"]
        x, channels = narrow, block.project
    raise ValueError("the last block projects")


def joined(n: NetSpec, name: str, enlarged: Top, lateral: Top) -> Top:
    """The sum of decoder and encoder at one size."""
    n[name] = L.Eltwise(lateral, enlarged)
    return n[name]


def detector_deploy() -> caffe_pb2.NetParameter:
    """RGB in [-1, 1] -> for each stride of `POSE_ANCHORS` the logits and people of its anchors.

    ``score8`` is N x 2 x 28 x 28, ``people8`` N x 24 x 28 x 28, and so on.
    """
    n = NetSpec()
    n.data = L.Input(shape=dict(dim=[1, 3, POSE_DETECTOR_SIDE, POSE_DETECTOR_SIDE]))
    x, laterals = encoder(n, n.data, DETECTOR_BLOCKS, activate=False)
    features = {32: x}
    for stride, channels, lateral in zip((16, 8), (192, 96), reversed(laterals)):
        name = f"decode{stride}"
        narrow = convolution(n, f"{name}_narrow", x, channels)
        up = relu6(n, f"{name}_up", upsample_bilinear(n, f"{name}_up", narrow, channels))
        x = joined(n, name, up, lateral)
        for index in (1, 2):
            x = residual(n, f"{name}_{index}", x, channels, activate=False)
        features[stride] = x
    for stride, anchors in POSE_ANCHORS.items():
        convolution(n, f"score{stride}", features[stride], anchors, 3)
        convolution(n, f"people{stride}", features[stride], anchors * PERSON_VALUES, 3)
    return named(n, "pose_detector")


def person_mask_deploy() -> caffe_pb2.NetParameter:
    """RGB in [0, 1], a person in the middle -> ``logit``, N x 1 x 256 x 256, of that person."""
    n = NetSpec()
    n.data = L.Input(shape=dict(dim=[1, 3, PERSON_MASK_SIDE, PERSON_MASK_SIDE]))
    x, (half, *laterals) = encoder(n, n.data, MASK_BLOCKS, activate=True)
    x = relu6(n, "decode32", separable(n, "decode32", x, 864, 48))
    for stride, lateral in zip((16, 8, 4), reversed(laterals)):
        x = joined(
            n, f"decode{stride}", enlarge_bilinear(n, f"decode{stride}_up", x, 48, 2), lateral
        )
    x = relu6(n, "decode4_narrow", separable(n, "decode4_narrow", x, 48, 8))
    x = joined(n, "decode2", enlarge_bilinear(n, "decode2_up", x, 8, 2), half)
    for index in (1, 2):
        x = residual(n, f"decode2_{index}", x, 8, activate=True)
    x = enlarge_bilinear(n, "decode1", x, 8, 2)
    for index in (1, 2):
        x = residual(n, f"decode1_{index}", x, 8, activate=True)
    convolution(n, "logit", x, 1, 3)
    return named(n, "person_mask")


def head_kernel(
    halving: tuple[np.ndarray, np.ndarray], pointwise: tuple[np.ndarray, np.ndarray]
) -> tuple[np.ndarray, np.ndarray]:
    """Kernel and bias of a head of the detector.

    The original makes a map of twice the rows and columns and a quarter of the channels
    (depth to space), halves it by a depthwise convolution of stride 2, and ends with a
    pointwise one, without activation between them: one convolution of the coarse map.  Of its
    3 x 3 cells the last row and column have zeros; they make the padding alike on all sides.

    Parameters
    ----------
    halving : (kernel, bias), ndarrays of shape (3, 3, C) and (C,)
        Of the depthwise convolution.
    pointwise : (kernel, bias), ndarrays of shape (K, C) and (K,)

    Returns
    -------
    kernel : ndarray of shape (K, 4 C, 3, 3)
    bias : ndarray of shape (K,)
    """
    (fine, fine_bias), (mix, mix_bias) = halving, pointwise
    channels = len(fine_bias)
    kernel = np.zeros((len(mix_bias), 2, 2, channels, 3, 3))
    # Fine row 2 y - 1 + p is row i of the two that coarse row y - 1 + r holds.
    for p, (r, i) in enumerate(((0, 1), (1, 0), (1, 1))):
        for q, (s, j) in enumerate(((0, 1), (1, 0), (1, 1))):
            kernel[:, i, j, :, r, s] = mix * fine[p, q]
    return kernel.reshape(-1, 4 * channels, 3, 3), mix_bias + mix @ fine_bias
