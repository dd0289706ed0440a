"""Pieces that every net definition shares: data, convolutions, matting head."""

from __future__ import annotations

import json

import numpy as np
from caffe import NetSpec
from caffe import layers as L
from caffe import params as P
from caffe.net_spec import Top
from caffe.proto import caffe_pb2

from prototxt.catalog import PREPARED

CLASSES = 3  # foreground, background, unknown

#: The middle 768 x 576 of a portrait of 800 x 600 is used: reduced by two or three,
#: these are multiples of 16, which the decoder needs.
CROP = (768, 576)
CROP_OFFSET = (16, 12)

#: Weights learn with the base rate; biases twice as fast and without decay.
LEARNED = [dict(lr_mult=1, decay_mult=1), dict(lr_mult=2, decay_mult=0)]
#: Rate of lambda, in the rate of the weights.  Its gradient is some five orders
#: smaller than theirs (1e-6 to 1e-4 against 0.1 in a trained lite net); at
#: rate 1 its steps would be below the float32 resolution of 100.
LAMBDA_RATE = 1e5
FIXED = [dict(lr_mult=0, decay_mult=0)]

#: Weight of the trimap loss beside the matte loss, end to end, in nets that have it.  Alone the
#: matte loss lets unknown spread over whatever the Laplacian can fill in on renders, and
#: cannot on photos (docs/design.md); FCN-8s is certain of no pixel after 80 iterations.
TRIMAP_WEIGHT = 0.2


def lmdb_data(
    phase: str, kind: str, batch_size: int, prepared: str = PREPARED, **transform
) -> L.Data:
    """A Data layer on one of the databases that `make data` writes.

    Parameters
    ----------
    phase : {"train", "test"}
    kind : {"image", "mask", "matte", "position"}
    prepared : str
        Folder of the databases.
    """
    return L.Data(
        source=f"{prepared}/{phase}_{kind}",
        backend=P.Data.LMDB,
        batch_size=batch_size,
        transform_param=transform,
        include=dict(phase=getattr(caffe_pb2, phase.upper())),
    )


def conv_relu(bottom, channels: int, kernel: int = 3, pad: int = 1, **options):
    """Convolution with learned bias, and further options of the layer, and an in-place ReLU."""
    conv = L.Convolution(
        bottom,
        kernel_size=kernel,
        stride=1,
        num_output=channels,
        pad=pad,
        param=LEARNED,
        weight_filler=dict(type="msra"),
        **options,
    )
    return conv, L.ReLU(conv, in_place=True)


def convolution(
    n: NetSpec,
    name: str,
    bottom: Top,
    channels: int,
    kernel: int = 1,
    stride: int = 1,
    group: int = 1,
) -> Top:
    """Convolution that gives size / stride rows, padded as TensorFlow does."""
    pad = kernel // 2
    if stride == 2:
        kernel += 1  # the added first row and column are zero
    n[name] = L.Convolution(
        bottom,
        num_output=channels,
        kernel_size=kernel,
        stride=stride,
        pad=pad,
        group=group,
        param=LEARNED,
        weight_filler=dict(type="msra"),
    )
    return n[name]


def depthwise(
    n: NetSpec, name: str, bottom: Top, channels: int, kernel: int = 3, stride: int = 1
) -> Top:
    """Convolution of every channel by itself, padded alike on all sides."""
    n[name] = L.Convolution(
        bottom,
        num_output=channels,
        kernel_size=kernel,
        stride=stride,
        pad=kernel // 2,
        group=channels,
    )
    return n[name]


def relu(n: NetSpec, name: str, bottom: Top) -> Top:
    """Rectify a blob in place."""
    n[f"{name}_relu"] = L.ReLU(bottom, in_place=True)
    return n[f"{name}_relu"]


def max_pool(bottom):
    """2 x 2 max pooling, stride 2."""
    return L.Pooling(bottom, pool=P.Pooling.MAX, kernel_size=2, stride=2)


def average_pool(bottom, factor: int):
    """Reduce by a whole factor with a box filter: exact for mattes too."""
    return L.Pooling(bottom, pool=P.Pooling.AVE, kernel_size=factor, stride=factor)


def reduced_portrait(n: NetSpec, name: str, source: Top, reduction: int) -> Top:
    """The middle of a 800 x 600 portrait, reduced."""
    n[f"{name}_crop"] = L.Crop(source, n.crop_size, axis=2, offset=list(CROP_OFFSET))
    n[name] = average_pool(n[f"{name}_crop"], reduction)
    return n[name]


def upsample_bilinear(n: NetSpec, name: str, bottom: Top, channels: int) -> Top:
    """Double the size; samples at pixel centers, borders clamped.

    Deconvolution with the bilinear kernel (1, 3, 3, 1) / 4 is that
    everywhere but in the outermost rows and columns, where a neighbor
    outside the image counts as 0 instead of as the border pixel.  With
    clamping both taps of such an output fall on the same border pixel, so
    dividing by the sum of the taps that fell inside is exact.  That sum is
    the deconvolution of ones, which follows the image's size by itself.
    """
    bilinear = dict(
        num_output=channels,
        group=channels,
        kernel_size=4,
        stride=2,
        pad=1,
        bias_term=False,
        weight_filler=dict(type="bilinear"),
    )
    n[f"{name}_ones"] = L.Power(bottom, scale=0, shift=1, propagate_down=False)
    n[f"{name}_taps"] = L.Deconvolution(n[f"{name}_ones"], convolution_param=bilinear, param=FIXED)
    n[f"{name}_inverse"] = L.Power(n[f"{name}_taps"], power=-1)
    n[f"{name}_unclamped"] = L.Deconvolution(bottom, convolution_param=bilinear, param=FIXED)
    n[name] = L.Eltwise(n[f"{name}_unclamped"], n[f"{name}_inverse"], operation=P.Eltwise.PROD)
    return n[name]


def enlarge_bilinear(n: NetSpec, name: str, bottom: Top, channels: int, factor: int) -> Top:
    """Enlarge a map by a whole, even factor, samples at pixel centers, borders clamped.

    What `upsample_bilinear` finds at run time, the taps within a map of any size, are weights
    here (`border_gains`), which halves the time of a net.  The Reshape, which changes nothing,
    is there for OpenCV: it takes every Scale for one factor a channel where it follows a
    Deconvolution.
    """
    n[f"{name}_unclamped"] = L.Deconvolution(
        bottom,
        convolution_param=dict(
            num_output=channels,
            group=channels,
            kernel_size=2 * factor,
            stride=factor,
            pad=factor // 2,
            bias_term=False,
        ),
    )
    n[f"{name}_same"] = L.Reshape(n[f"{name}_unclamped"], shape=dict(dim=[0, 0, 0, 0]))
    n[name] = L.Scale(n[f"{name}_same"], axis=2, num_axes=2)
    return n[name]


def border_gains(side: int, factor: int) -> np.ndarray:
    """Factors (side, side) that clamp the borders of a map that `enlarge_bilinear` gives."""
    # The share of the kernel's taps that fall inside, by the distance to the border.
    inside = 0.5 + (np.arange(factor // 2) + 0.5) / factor
    gains = np.ones(side)
    gains[: factor // 2] = 1 / inside
    gains[-(factor // 2) :] = 1 / inside[::-1]
    return np.outer(gains, gains)


def matting(net, image: str, lambda_rate: float = LAMBDA_RATE, **options) -> None:
    """Softmax and MattingLayer on the blob ``score``: tops ``prob``, ``alpha``.

    Parameters
    ----------
    image : str
        Name of the color blob.
    lambda_rate : float
        Learning rate of lambda, in that of the weights.
    options
        The layer's ``param_str``.
    """
    net.prob = L.Softmax(net.score)
    net.alpha = L.Python(
        net.prob,
        net.tops[image],
        # lambda: no weight decay, which would pull it toward 0.
        param=dict(lr_mult=lambda_rate, decay_mult=0),
        python_param=dict(
            module="caffe_layers.matting_layer",
            layer="MattingLayer",
            param_str=json.dumps(options),
        ),
    )


def matte_loss(net, prepared: str = PREPARED) -> None:
    """Weighted loss (eq. 10, 11) of ``alpha`` against ``matte``, per pixel.

    ``prepared`` is the folder with the measured p(alpha).
    """
    net.loss = L.Python(
        net.alpha,
        net.matte,
        loss_weight=1,
        python_param=dict(
            module="caffe_layers.weighted_loss_layer",
            layer="WeightedLossLayer",
            param_str=json.dumps({"p_alpha": f"{prepared}/p_alpha.txt", "normalize": True}),
        ),
    )


def trimap_label(net) -> None:
    """Top ``label``: the class of every pixel of ``matte``.

    Labels 0 foreground (alpha 1), 1 background (alpha 0), 2 unknown, out of
    standard layers: label = 1 + [alpha > 0] - 2 [alpha = 1].
    """
    half_step = 0.5 / 255
    net.not_background = L.Threshold(net.matte, threshold=half_step)
    net.foreground = L.Threshold(net.matte, threshold=1 - half_step)
    net.class_step = L.Eltwise(
        net.not_background, net.foreground, operation=P.Eltwise.SUM, coeff=[1, -2]
    )
    net.label = L.Power(net.class_step, shift=1)


def trimap_loss(
    net, scores: str = "score", loss: str = "loss", unknown_odds: float = 0.0, **options
) -> None:
    """Softmax loss of scores against the trimap of ``matte`` (`trimap_label`).

    Parameters
    ----------
    scores, loss : str
        Names of the blobs.
    unknown_odds : float
        Subtracted from the score of unknown before the softmax, so that the net learns
        to score it higher than the odds by as much (logit adjustment, Menon et al. 2021).
    options
        Options of the loss layer.
    """
    trimap_label(net)
    adjusted = net.tops[scores]
    if unknown_odds:
        # Constants of the matte's size, whatever that is.
        net.no_odds = L.Power(net.matte, scale=0)
        net.unknown_odds = L.Power(net.matte, scale=0, shift=-unknown_odds)
        net.odds = L.Concat(net.no_odds, net.no_odds, net.unknown_odds)
        net.odds_score = adjusted = L.Eltwise(adjusted, net.odds)
    net.tops[loss] = L.SoftmaxWithLoss(adjusted, net.label, **options)


def named(n: NetSpec, name: str) -> caffe_pb2.NetParameter:
    """The net definition with its name."""
    proto = n.to_proto()
    proto.name = name
    return proto


def both_phases(train: NetSpec, test_data: NetSpec, name: str) -> caffe_pb2.NetParameter:
    """A net for `caffe train`: the Data layers of the test phase, and everything of training."""
    proto = named(train, name)
    layers = list(proto.layer)
    del proto.layer[:]
    proto.layer.extend(layer for layer in test_data.to_proto().layer if layer.type == "Data")
    proto.layer.extend(layers)
    return proto
