"""The `multiclass` net: which pixels of a photo are hair, skin, clothes and things of people.

It is MediaPipe's multiclass selfie segmenter (Apache-2.0; ``tools/convert_multiclass.py`` reads
its weights): inverted residual blocks (MobileNetV2, Sandler et al. 2018) down to stride 16,
blocks of separable self-attention at strides 8 and 16 (MobileViTv2, Mehta and Rastegari 2022),
and a decoder that adds up the features of four strides.  Standard layers only, so that OpenCV
reads it too.

Where Caffe has no layer of the same meaning, the spelling is:

* attention within groups of every `PATCH`-th pixel of a row and of a column: what belongs to one
  place of all patches.  The mean over a group is two poolings, each after a reshaping that puts
  a group side by side (`group_mean`); copies of a group's mean, for each of its pixels, are put
  together (`copied`; OpenCV cannot read Caffe's Tile).  The weights of a group, a softmax there,
  are exponentials whose sum divides the sum of what they weigh.
* the last two convolutions, between which nothing is activated: one (`score_kernel`).
* normalizations, folded into a factor and an offset by channel: Scale.
* stride-2 convolutions with TensorFlow's padding: see `prototxt.netspec.selfie`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from caffe import NetSpec
from caffe import layers as L
from caffe import params as P
from caffe.net_spec import Top
from caffe.proto import caffe_pb2

from prototxt.catalog import PERSON_CLASSES
from prototxt.netspec.blocks import convolution, enlarge_bilinear, named, relu

#: Sides of the patches whose places attend to each other.
PATCH = 4
#: Channels of the decoder, and of the layers behind it.
FUSED, REFINED = 64, 32
REFINEMENTS = 5


@dataclass(frozen=True)
class Stage:
    """One inverted residual block, and the attention behind it.

    Attributes
    ----------
    stride, expand, project : int
        Of the block: wide and narrow channels.
    residual : bool
        Whether the block's input is added.
    attention, attended : int
        Number of attention blocks, and their channels.
    is_lateral : bool
        Whether the decoder takes what comes out.
    """

    stride: int
    expand: int
    project: int
    residual: bool = False
    attention: int = 0
    attended: int = 0
    is_lateral: bool = True


STEM_CHANNELS = 16
STAGES = (
    Stage(1, 96, 64, is_lateral=False),
    Stage(2, 384, 128, is_lateral=False),
    Stage(1, 768, 128, residual=True),
    Stage(2, 768, 256, attention=2, attended=128),
    Stage(2, 1536, 384, attention=4, attended=192),
)


def scale(n: NetSpec, name: str, bottom: Top) -> Top:
    """A factor and an offset for every channel."""
    n[name] = L.Scale(bottom, bias_term=True)
    return n[name]


def add(n: NetSpec, name: str, *bottoms: Top) -> Top:
    """The sum of several blobs."""
    n[name] = L.Eltwise(*bottoms)
    return n[name]


def group_mean(n: NetSpec, name: str, bottom: Top, side: int, channels: int) -> Top:
    """Mean over every `PATCH`-th row and column: 1 x C x side x side -> 1 x C x PATCH x PATCH."""
    patches = side // PATCH

    def mean(step: str, values: Top, shape: list[int]) -> Top:
        """Of the third of four dimensions."""
        n[f"{name}_{step}"] = L.Reshape(values, shape=dict(dim=shape))
        n[f"{name}_{step}_mean"] = L.Pooling(
            n[f"{name}_{step}"], pool=P.Pooling.AVE, kernel_h=patches, kernel_w=1
        )
        return n[f"{name}_{step}_mean"]

    rows = mean("rows", bottom, [1, channels, patches, PATCH * side])
    columns = mean("columns", rows, [channels, PATCH, patches, PATCH])
    n[name] = L.Reshape(columns, shape=dict(dim=[1, channels, PATCH, PATCH]))
    return n[name]


def copied(n: NetSpec, name: str, bottom: Top, patches: int) -> Top:
    """A map of PATCH rows and columns, repeated to so many of them in a row and in a column."""
    n[f"{name}_row"] = L.Concat(*[bottom] * patches, axis=3)
    n[name] = L.Concat(*[n[f"{name}_row"]] * patches, axis=2)
    return n[name]


def attention(n: NetSpec, name: str, x: Top, side: int, channels: int) -> Top:
    """Separable self-attention and two pointwise convolutions beside it, both added to `x`."""
    normal = scale(n, f"{name}_norm", x)
    wide = convolution(n, f"{name}_wide", normal, 2 * channels)
    narrow = convolution(n, f"{name}_narrow", wide, channels)
    n[f"{name}_odds"] = L.Exp(convolution(n, f"{name}_query", normal, 1))
    total = group_mean(n, f"{name}_total", n[f"{name}_odds"], side, 1)
    n[f"{name}_weight"] = L.Reshape(n[f"{name}_odds"], shape=dict(dim=[side, side]))
    key = convolution(n, f"{name}_key", normal, channels)
    n[f"{name}_weighted"] = L.Scale(key, n[f"{name}_weight"], axis=2)
    weighted = group_mean(n, f"{name}_context", n[f"{name}_weighted"], side, channels)
    n[f"{name}_inverse"] = L.Power(total, power=-1)
    n[f"{name}_share"] = L.Reshape(n[f"{name}_inverse"], shape=dict(dim=[PATCH, PATCH]))
    n[f"{name}_mean"] = L.Scale(weighted, n[f"{name}_share"], axis=2)
    value = convolution(n, f"{name}_value", normal, channels)
    value = relu(n, f"{name}_value", value)
    everywhere = copied(n, f"{name}_copies", n[f"{name}_mean"], side // PATCH)
    n[f"{name}_attended"] = L.Eltwise(value, everywhere, operation=P.Eltwise.PROD)
    answer = convolution(n, f"{name}_answer", n[f"{name}_attended"], channels)
    return add(n, f"{name}_sum", narrow, answer, x)


def block(n: NetSpec, name: str, stage: Stage, x: Top) -> Top:
    """An inverted residual block."""
    wide = relu(n, f"{name}_expand", convolution(n, f"{name}_expand", x, stage.expand))
    deep = convolution(
        n, f"{name}_depthwise", wide, stage.expand, 3, stage.stride, group=stage.expand
    )
    narrow = convolution(n, f"{name}_project", relu(n, f"{name}_depthwise", deep), stage.project)
    return add(n, f"{name}_sum", narrow, x) if stage.residual else narrow


def attending(n: NetSpec, name: str, stage: Stage, x: Top, side: int) -> Top:
    """A block's features after its attention."""
    x = relu(n, f"{name}_local", convolution(n, f"{name}_local", x, stage.attended, 3))
    x = relu(n, f"{name}_in", convolution(n, f"{name}_in", x, stage.attended))
    for index in range(1, stage.attention + 1):
        x = attention(n, f"{name}_attention{index}", x, side, stage.attended)
    return convolution(n, f"{name}_out", x, stage.project)


def lateral(n: NetSpec, name: str, x: Top) -> Top:
    """Features of the encoder for the decoder."""
    return convolution(n, name, scale(n, f"{name}_norm", x), FUSED)


def separable(n: NetSpec, name: str, x: Top, channels: int) -> Top:
    """A depthwise convolution of `FUSED` channels, then a pointwise one; no activations."""
    deep = convolution(n, f"{name}_depthwise", x, FUSED, 3, group=FUSED)
    return convolution(n, name, deep, channels)


def doubled(n: NetSpec, name: str, x: Top) -> Top:
    """Every pixel four times."""
    n[name] = L.Deconvolution(
        x,
        convolution_param=dict(
            num_output=FUSED, group=FUSED, kernel_size=2, stride=2, bias_term=False
        ),
    )
    return n[name]


def enlarged(side: int) -> dict[int, str]:
    """Stride -> layer that enlarges its map in the decoder of a net with such an input.

    The names tell the side, because their gains have its shape: one file serves all sides.
    """
    return {stride: f"enlarged{stride}_{side}" for stride in (16, 8, 4)}


def decoder(n: NetSpec, laterals: dict[int, Top], side: int) -> Top:
    """The sum, at stride 2, of what the strides 16 to 2 hold, each smoothed.

    Parameters
    ----------
    n : NetSpec
    laterals : dict
        Stride -> features of `FUSED` channels.
    side : int
        Of the net's input.
    """
    x, found = laterals[16], []
    for stride in (16, 8, 4, 2):
        if stride < 16:
            x = add(n, f"joint{stride}", doubled(n, f"doubled{stride}", x), laterals[stride])
        smooth = separable(n, f"smooth{stride}", x, FUSED)
        if stride > 2:
            smooth = enlarge_bilinear(n, enlarged(side)[stride], smooth, FUSED, stride // 2)
        found.append(smooth)
    return add(n, "fused", *found)


def deploy(side: int) -> caffe_pb2.NetParameter:
    """RGB in [-1, 1] -> ``class_score``, 1 x 6 x side x side.

    The classes are the background and `prototxt.catalog.PERSON_CLASSES`.

    Parameters
    ----------
    side : int
        Rows and columns, a multiple of 64.
    """
    n = NetSpec()
    n.data = L.Input(shape=dict(dim=[1, 3, side, side]))
    x = relu(n, "stem", convolution(n, "stem", n.data, STEM_CHANNELS, 3, 2))
    stride, laterals = 2, {2: lateral(n, "lateral2", x)}
    for index, stage in enumerate(STAGES, start=1):
        name = f"block{index}"
        x = block(n, name, stage, x)
        stride *= stage.stride
        if stage.attention:
            x = attending(n, name, stage, x, side // stride)
        if stage.is_lateral:
            laterals[stride] = lateral(n, f"lateral{stride}", x)
    x = decoder(n, laterals, side)
    channels = FUSED
    for index in range(1, REFINEMENTS + 1):
        name = f"refine{index}"
        deep = convolution(n, f"{name}_depthwise", x, channels, 3, group=channels)
        x = convolution(n, name, relu(n, f"{name}_depthwise", deep), REFINED)
        x, channels = relu(n, name, x), REFINED
    n.class_score = L.Deconvolution(
        x, convolution_param=dict(num_output=1 + len(PERSON_CLASSES), kernel_size=2, stride=2)
    )
    return named(n, "multiclass")


def score_kernel(
    doubling: tuple[np.ndarray, np.ndarray], pointwise: tuple[np.ndarray, np.ndarray]
) -> tuple[np.ndarray, np.ndarray]:
    """One transposed convolution for one that doubles the size and a pointwise one behind it.

    Parameters
    ----------
    doubling : (kernel, bias), ndarrays of shape (M, 2, 2, C) and (M,)
        In TensorFlow's layout: outputs first.
    pointwise : (kernel, bias), ndarrays of shape (K, M) and (K,)

    Returns
    -------
    kernel : ndarray of shape (C, K, 2, 2)
    bias : ndarray of shape (K,)
    """
    (kernel, bias), (mix, mix_bias) = doubling, pointwise
    return np.einsum("km,mijc->ckij", mix, kernel), mix_bias + mix @ bias
