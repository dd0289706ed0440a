"""The `portrait` net: the converted segmenter, widened and trained end to end.

The trunk is that of ``prototxt/netspec/selfie.py`` (114 k weights, so the file is small
enough to be part of this repository), with two changes of the paper's:

* a fourth input channel, the shape mask, at the first learned convolution;
* the last Deconvolution gives the three scores of eq. 3 in place of one logit.

`tools/init_weights.py` fills them so that the net starts as the segmenter's own
trimap.  It sees portraits reduced by two, 384 x 288: at the segmenter's 256 x 256 a
pixel of its last features covers six of the photo, here four.

Two variants show what that brings (docs/training.md): one without the shape mask, one
on portraits reduced by three.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from caffe import NetSpec
from caffe import layers as L
from caffe.net_spec import Top
from caffe.proto import caffe_pb2

from data_prep.caffe_data.shape_mask import NEUTRAL_MASK
from prototxt.catalog import CERTAIN_LOGIT, MEAN_BGR, PORTRAIT_PREPARED
from prototxt.netspec.blocks import (
    CLASSES,
    CROP,
    FIXED,
    TRIMAP_WEIGHT,
    both_phases,
    lmdb_data,
    matte_loss,
    matting,
    named,
    reduced_portrait,
    trimap_loss,
)
from prototxt.netspec.selfie import features, per_pixel


@dataclass(frozen=True)
class Variant:
    """What distinguishes a net from the others.

    Attributes
    ----------
    reduction : int
        Factor by which portraits are reduced before the net.
    shape_mask : bool
        Whether the shape mask is the fourth input channel.
    """

    reduction: int
    shape_mask: bool

    @property
    def size(self) -> tuple[int, int]:
        """Rows and columns of the input."""
        return CROP[0] // self.reduction, CROP[1] // self.reduction

    @property
    def channels(self) -> int:
        """Channels of the input."""
        return 3 + self.shape_mask


VARIANTS = {
    "portrait": Variant(reduction=2, shape_mask=True),
    "portrait_nomask": Variant(reduction=2, shape_mask=False),
    "portrait_third": Variant(reduction=3, shape_mask=True),
}

BATCH_SIZE = 2
# Adam's steps are the rate, whatever the gradient: 0.01 an iteration at 1e-4, so that
# lambda, 100 at the start, stays of its order over thousands of them.
LAMBDA_RATE = 1e2

# The warm start raises the score of unknown by this over the log-odds: to call hair
# known costs far more than to leave a cheek open, and the softmax loss does not know.
UNKNOWN_ODDS = 3.0
# Scores are multiplied by this in front of the matting layer.  The softmax loss makes
# them log-probabilities, so F + B is 1e-2 where a pixel is all but surely unknown: hair
# would be gray (docs/design.md on the gray trap).
SHARPNESS = 4

# Score per unit of the segmenter's logit at the start.  Its logits reach 500; a
# softmax loss of such scores would depend on a handful of pixels alone.
START_SHARPNESS = 0.1


def scores(n: NetSpec, data: Top, channels: int, sharpness: float) -> Top:
    """Scores of foreground, background and unknown, N x 3 x H x W.

    Parameters
    ----------
    n : NetSpec
    data : Top
        Mean-subtracted BGR and, as the fourth of `channels`, the mean-subtracted
        shape mask.
    channels : {3, 4}
    sharpness : float
        See `SHARPNESS`.
    """
    # Fixed weights: RGB in [0, 1] and the mask within half of 0.
    n.colors = L.Convolution(data, num_output=channels, kernel_size=1, param=FIXED * 2)
    n.score = L.Power(per_pixel(n, "class_score", features(n, n.colors), CLASSES), scale=sharpness)
    return n.score


def color_weights(channels: int) -> tuple[np.ndarray, np.ndarray]:
    """Kernel (C, C) and bias (C,) of layer `colors`."""
    kernel, bias = np.eye(channels), np.zeros(channels)
    kernel[:3, :3] = np.eye(3)[::-1]
    bias[:3] = MEAN_BGR[::-1]
    return kernel / 255, bias / 255


def score_weights(kernel: np.ndarray, bias: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Weights of `class_score` from those of the segmenter's `logit`.

    With z the logit, g = `START_SHARPNESS` and t = `CERTAIN_LOGIT`:

        F^s = g (z - t),   B^s = g (-z - t),   U^s = 0.

    Parameters
    ----------
    kernel : (C, 1, 2, 2) ndarray
    bias : (1,) ndarray

    Returns
    -------
    kernel : (C, 3, 2, 2) ndarray
    bias : (3,) ndarray
    """
    sign = np.array([1, -1, 0])
    known = np.array([1, 1, 0])
    return (
        START_SHARPNESS * kernel * sign[:, None, None],
        START_SHARPNESS * (sign * bias - known * CERTAIN_LOGIT),
    )


def train_val(net: str, head: str) -> caffe_pb2.NetParameter:
    """Net definition for `caffe train`, both phases.

    Parameters
    ----------
    net : str
        A key of `VARIANTS`.
    head : {"matting", "trimap"}
        End to end, or the warm start: softmax loss against the trimap of the matte.
    """
    variant = VARIANTS[net]
    n, test = NetSpec(), NetSpec()
    wanted = {"image": dict(mean_value=list(MEAN_BGR)), "matte": dict(scale=1 / 255)}
    if variant.shape_mask:
        wanted["mask"] = dict(mean_value=[NEUTRAL_MASK])
    for phase, data, batch_size in (("train", n, BATCH_SIZE), ("test", test, 1)):
        for kind, transform in wanted.items():
            data[f"full_{kind}"] = lmdb_data(
                phase, kind, batch_size, PORTRAIT_PREPARED, **transform
            )
    n.crop_size = L.DummyData(shape=dict(dim=[1, 1, *CROP]))
    for kind in wanted:
        reduced_portrait(n, kind, n[f"full_{kind}"], variant.reduction)
    n.data = L.Concat(*(n[kind] for kind in ("image", "mask") if kind in wanted))
    if head == "matting":
        scores(n, n.data, variant.channels, SHARPNESS)
        matting(n, "image", LAMBDA_RATE, log_every=20)
        matte_loss(n, PORTRAIT_PREPARED)
        trimap_loss(n, "class_score", "trimap_loss", UNKNOWN_ODDS, loss_weight=TRIMAP_WEIGHT)
    else:
        scores(n, n.data, variant.channels, sharpness=1)
        trimap_loss(n, unknown_odds=UNKNOWN_ODDS)
    return both_phases(n, test, f"{net}_{head}")


def deploy(net: str, head: str) -> caffe_pb2.NetParameter:
    """Net definition for one portrait, as `prototxt.netspec.fcn8s.deploy`."""
    variant = VARIANTS[net]
    n = NetSpec()
    n.data = L.Input(shape=dict(dim=[1, variant.channels, *variant.size]))
    scores(n, n.data, variant.channels, SHARPNESS)
    if head == "trimap":
        n.prob = L.Softmax(n.score)
    elif variant.shape_mask:
        n.image, n.mask = L.Slice(n.data, ntop=2, slice_param=dict(axis=1, slice_point=[3]))
        matting(n, "image")
    else:
        matting(n, "data")
    return named(n, f"{net}_{head}_deploy")
