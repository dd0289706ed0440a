"""FCN-8s for portrait matting: the published net, its variants, one function.

Long, Shelhamer and Darrell's voc-fcn8s with 3 score channels (foreground,
background, unknown) and a fourth input channel, the shape mask.  Layer names,
shapes, crops and learning rates are those of the published files, so that
their weights load.  ``lite`` is the same net, narrow, on images reduced four
times: for laptops, tests and continuous integration.  ``fcn8s_half`` sees the
rendered portrait set reduced twice, at the full width up to conv5_3 and without the
wide border that the published net works on.
"""

from __future__ import annotations

from dataclasses import dataclass

import caffe
from caffe import layers as L
from caffe import params as P
from caffe.coord_map import crop
from caffe.proto import caffe_pb2

from data_prep.caffe_data.shape_mask import NEUTRAL_MASK
from data_prep.datasets.dataset import FRAME
from prototxt.catalog import MEAN_BGR, PORTRAIT_PREPARED, PREPARED
from prototxt.netspec.blocks import (
    CLASSES,
    FIXED,
    LAMBDA_RATE,
    LEARNED,
    TRIMAP_WEIGHT,
    average_pool,
    both_phases,
    conv_relu,
    lmdb_data,
    matte_loss,
    matting,
    max_pool,
    named,
    trimap_loss,
)


@dataclass(frozen=True)
class Shape:
    """What distinguishes the full net from the narrow one.

    Attributes
    ----------
    widths : tuple of int
        Channels of the five convolution stages.
    fc_width, fc_kernel : int
        Channels and kernel of fc6, and channels of fc7, whose kernel is 1.
    pad : int
        Padding of conv1_1.  The published 100 lets images be smaller than the kernel of fc6 sees;
        on images of 300 x 400 it is six tenths of the work.
    reduction : int
        Factor by which 600 x 800 portraits are reduced before the net.
    batch_size : int
    fc_pad : int
        Padding of fc6: 0 after a wide `pad`; half its kernel after a `pad` of 1, with the same
        receptive fields.
    lambda_rate : float
        See `prototxt.netspec.blocks.matting`; Adam normalizes the gradient by itself
        and wants less.
    prepared : str
        Folder of the databases.
    trimap_weight : float
        Weight of a trimap loss beside the matte loss (`prototxt.netspec.blocks.TRIMAP_WEIGHT`); the
        paper has none.
    """

    widths: tuple[int, ...]
    fc_width: int
    fc_kernel: int
    pad: int
    reduction: int
    batch_size: int
    fc_pad: int = 0
    lambda_rate: float = LAMBDA_RATE
    prepared: str = PREPARED
    trimap_weight: float = 0.0


VGG16_WIDTHS = (64, 128, 256, 512, 512)
SHAPES = {
    "fcn8s": Shape(VGG16_WIDTHS, 4096, 7, 100, reduction=1, batch_size=1),
    # There are no trained weights for fc6 and fc7 here: 4096 random channels would be
    # 90 % of the net's size for nothing.
    "fcn8s_half": Shape(
        VGG16_WIDTHS,
        512,
        7,
        1,
        reduction=2,
        batch_size=1,
        fc_pad=3,
        lambda_rate=1e3,
        prepared=PORTRAIT_PREPARED,
        trimap_weight=TRIMAP_WEIGHT,
    ),
    "lite": Shape((8, 16, 48, 96, 96), 128, 3, 22, reduction=4, batch_size=2, lambda_rate=1e3),
}
#: Nets that exist without the shape mask too.
WITHOUT_MASK = ("fcn8s", "fcn8s_half", "lite")


def score_layer(bottom, classes: int):
    """1 x 1 convolution to the class scores."""
    return L.Convolution(bottom, num_output=classes, kernel_size=1, pad=0, param=LEARNED)


def upsample(bottom, factor: int, classes: int):
    """Fixed bilinear upsampling (init_weights writes the kernels)."""
    return L.Deconvolution(
        bottom,
        convolution_param=dict(
            num_output=classes, kernel_size=2 * factor, stride=factor, bias_term=False
        ),
        param=FIXED,
    )


def fuse(n: caffe.NetSpec, shape: Shape, coarse: str, skip: str, fused: str) -> None:
    """Add upsampled scores and those of a finer layer, the larger of them cropped.

    After a wide padding of conv1_1 those of the finer layer are larger.
    """
    ours, others = n.tops[coarse], n.tops[skip]
    if shape.fc_pad:
        n.tops[f"{coarse}c"] = ours = crop(ours, others)
    else:
        n.tops[f"{skip}c"] = others = crop(others, ours)
    n.tops[fused] = L.Eltwise(ours, others, operation=P.Eltwise.SUM)


def fcn8s_scores(n: caffe.NetSpec, shape: Shape, classes: int = CLASSES) -> None:
    """FCN-8s from the blob ``data`` to the blob ``score`` of the same size."""
    w = shape.widths
    n.conv1_1, n.relu1_1 = conv_relu(n.data, w[0], pad=shape.pad)
    n.conv1_2, n.relu1_2 = conv_relu(n.relu1_1, w[0])
    n.pool1 = max_pool(n.relu1_2)

    n.conv2_1, n.relu2_1 = conv_relu(n.pool1, w[1])
    n.conv2_2, n.relu2_2 = conv_relu(n.relu2_1, w[1])
    n.pool2 = max_pool(n.relu2_2)

    n.conv3_1, n.relu3_1 = conv_relu(n.pool2, w[2])
    n.conv3_2, n.relu3_2 = conv_relu(n.relu3_1, w[2])
    n.conv3_3, n.relu3_3 = conv_relu(n.relu3_2, w[2])
    n.pool3 = max_pool(n.relu3_3)

    n.conv4_1, n.relu4_1 = conv_relu(n.pool3, w[3])
    n.conv4_2, n.relu4_2 = conv_relu(n.relu4_1, w[3])
    n.conv4_3, n.relu4_3 = conv_relu(n.relu4_2, w[3])
    n.pool4 = max_pool(n.relu4_3)

    n.conv5_1, n.relu5_1 = conv_relu(n.pool4, w[4])
    n.conv5_2, n.relu5_2 = conv_relu(n.relu5_1, w[4])
    n.conv5_3, n.relu5_3 = conv_relu(n.relu5_2, w[4])
    n.pool5 = max_pool(n.relu5_3)

    # The fully connected layers of VGG-16 as convolutions.
    n.fc6, n.relu6 = conv_relu(n.pool5, shape.fc_width, shape.fc_kernel, shape.fc_pad)
    n.drop6 = L.Dropout(n.relu6, dropout_ratio=0.5, in_place=True)
    n.fc7, n.relu7 = conv_relu(n.drop6, shape.fc_width, kernel=1, pad=0)
    n.drop7 = L.Dropout(n.relu7, dropout_ratio=0.5, in_place=True)

    n.score_fr = score_layer(n.drop7, classes)
    n.upscore2 = upsample(n.score_fr, 2, classes)

    n.score_pool4 = score_layer(n.pool4, classes)
    fuse(n, shape, "upscore2", "score_pool4", "fuse_pool4")
    n.upscore_pool4 = upsample(n.fuse_pool4, 2, classes)

    n.score_pool3 = score_layer(n.pool3, classes)
    fuse(n, shape, "upscore_pool4", "score_pool3", "fuse_pool3")
    n.upscore8 = upsample(n.fuse_pool3, 8, classes)

    n.score = crop(n.upscore8, n.data)


def portrait_data(phase: str, shape: Shape, shape_mask: bool) -> caffe.NetSpec:
    """Blobs `image_blob`, ``mask`` (optional) and ``matte`` from the databases."""
    n = caffe.NetSpec()
    wanted = [("image", image_blob(shape_mask), dict(mean_value=list(MEAN_BGR)))]
    if shape_mask:
        wanted.append(("mask", "mask", dict(mean_value=[NEUTRAL_MASK])))
    wanted.append(("matte", "matte", dict(scale=1 / 255)))
    for kind, blob, transform in wanted:
        source = lmdb_data(phase, kind, shape.batch_size, shape.prepared, **transform)
        if shape.reduction == 1:
            n[blob] = source
        else:
            n[f"full_{kind}"] = source
            n[blob] = average_pool(source, shape.reduction)
    return n


def image_blob(shape_mask: bool) -> str:
    """Name of the color blob: with the mask, ``data`` is their concatenation."""
    return "image" if shape_mask else "data"


def train_val(net: str, head: str, shape_mask: bool = True) -> caffe_pb2.NetParameter:
    """Net definition for `caffe train`, both phases.

    Parameters
    ----------
    net : str
        A key of `SHAPES`.
    head : {"matting", "trimap"}
        The paper's head (a net with a trimap weight has that loss beside it), or
        softmax loss against the trimap of the matte (the FCN baseline of Table 1, and
        the warm start).
    shape_mask : bool
        False makes the row "without shape mask" of Table 1.
    """
    shape = SHAPES[net]
    test_data = portrait_data("test", shape, shape_mask)
    n = portrait_data("train", shape, shape_mask)
    if shape_mask:
        n.data = L.Concat(n.image, n.mask)
    fcn8s_scores(n, shape)
    if head == "matting":
        matting(n, image_blob(shape_mask), shape.lambda_rate, log_every=20)
        matte_loss(n, shape.prepared)
        if shape.trimap_weight:
            trimap_loss(n, loss="trimap_loss", loss_weight=shape.trimap_weight)
    else:
        trimap_loss(n)
    return both_phases(n, test_data, f"{net}_{head}" + ("" if shape_mask else "_nomask"))


def input_shape(net: str, channels: int) -> dict:
    """Shape of ``data`` for one portrait, as a field of a definition.

    Parameters
    ----------
    net : str
        A key of `SHAPES`.
    channels : int
    """
    height, width = (side // SHAPES[net].reduction for side in FRAME)
    return dict(dim=[1, channels, height, width])


def deploy(net: str, head: str, shape_mask: bool = True) -> caffe_pb2.NetParameter:
    """Net definition for one portrait.

    The input ``data`` is 1 x 4 x H x W: mean-subtracted BGR and the
    mean-subtracted shape mask (1 x 3 x H x W without it).  ``head`` "trimap"
    ends with ``prob`` and has no Python layer, so that other programs can
    read it; "matting" continues to ``alpha``.
    """
    shape = SHAPES[net]
    n = caffe.NetSpec()
    n.data = L.Input(shape=input_shape(net, channels=4 if shape_mask else 3))
    fcn8s_scores(n, shape)
    if head == "matting":
        if shape_mask:
            n.image, n.mask = L.Slice(n.data, ntop=2, slice_param=dict(axis=1, slice_point=[3]))
        matting(n, image_blob(shape_mask), shape.lambda_rate)
    else:
        n.prob = L.Softmax(n.score)
    return named(n, f"{net}_{head}_deploy" + ("" if shape_mask else "_nomask"))
