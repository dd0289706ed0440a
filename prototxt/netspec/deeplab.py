"""DeepLab-LargeFOV for trimaps, a row of Table 1.

Chen et al., "Semantic Image Segmentation with Deep Convolutional Nets and Fully Connected
CRFs" (2015): VGG-16 whose last two pools keep the size, the convolutions after them dilated
instead, and a 3 x 3 fc6 of dilation 12.  Layer names, kernels, strides, paddings and rates are
those of the released files, but for three outputs and, as in ``fcn8s_half``, 512 channels in
fc6 and fc7, of which nobody here has trained weights.  The paper's CRF follows the net, it is
not part of it: `caffe_layers.mean_field.dense_crf`.

BVLC Caffe lacks two of its layers.  ``Interp`` that reduces labels is a 1 x 1 convolution of
stride 8; ``Interp`` that enlarges scores is a bilinear Deconvolution of odd kernel, so that cell
j lies on pixel 8 j.
"""

from __future__ import annotations

from dataclasses import dataclass

from caffe import NetSpec
from caffe import layers as L
from caffe import params as P
from caffe.proto import caffe_pb2

from prototxt.netspec.blocks import CLASSES, FIXED, both_phases, conv_relu, named, trimap_label
from prototxt.netspec.fcn8s import SHAPES, input_shape, portrait_data

STRIDE = 8  # of the scores


@dataclass(frozen=True)
class Variant:
    """What distinguishes a net from the other.

    Attributes
    ----------
    trunk : str
        A key of `prototxt.netspec.fcn8s.SHAPES`: widths, reduction, batch and databases.
    dilation : int
        Of fc6.
    """

    trunk: str
    dilation: int


VARIANTS = {
    "deeplab_half": Variant("fcn8s_half", dilation=12),
    # At a quarter of the portrait, half the dilation sees as much of it.
    "lite_deeplab": Variant("lite", dilation=6),
}
#: fc8 learns ten times as fast as the trained convolutions.
FC8_LEARNED = [dict(lr_mult=10, decay_mult=1), dict(lr_mult=20, decay_mult=0)]


def dilated_relu(bottom, channels: int, dilation: int = 1):
    """3 x 3 convolution that keeps the size, with an in-place ReLU."""
    return conv_relu(bottom, channels, pad=dilation, dilation=dilation)


def pool(bottom, stride: int, kind: int = P.Pooling.MAX):
    """3 x 3 pooling."""
    return L.Pooling(bottom, pool=kind, kernel_size=3, stride=stride, pad=1)


def scores(n: NetSpec, variant: Variant) -> None:
    """From the blob ``data`` to ``fc8``, scores of every eighth pixel."""
    shape = SHAPES[variant.trunk]
    bottom = n.data
    # Convolutions, dilation and stride of the pool of each stage.
    stages = ((2, 1, 2), (2, 1, 2), (3, 1, 2), (3, 1, 1), (3, 2, 1))
    for stage, (count, dilation, stride) in enumerate(stages, start=1):
        for i in range(1, count + 1):
            conv, bottom = dilated_relu(bottom, shape.widths[stage - 1], dilation)
            n[f"conv{stage}_{i}"], n[f"relu{stage}_{i}"] = conv, bottom
        n[f"pool{stage}"] = bottom = pool(bottom, stride)
    n.pool5a = pool(n.pool5, 1, P.Pooling.AVE)

    n.fc6, n.relu6 = dilated_relu(n.pool5a, shape.fc_width, variant.dilation)
    n.drop6 = L.Dropout(n.relu6, dropout_ratio=0.5, in_place=True)
    n.fc7, n.relu7 = conv_relu(n.drop6, shape.fc_width, kernel=1, pad=0)
    n.drop7 = L.Dropout(n.relu7, dropout_ratio=0.5, in_place=True)
    n.fc8 = L.Convolution(
        n.drop7,
        num_output=CLASSES,
        kernel_size=1,
        param=FC8_LEARNED,
        weight_filler=dict(type="gaussian", std=0.01),
    )


def train_val(net: str) -> caffe_pb2.NetParameter:
    """Net definition for `caffe train`, both phases: softmax loss against every eighth label.

    Parameters
    ----------
    net : str
        A key of `VARIANTS`.
    """
    variant = VARIANTS[net]
    shape = SHAPES[variant.trunk]
    test_data = portrait_data("test", shape, shape_mask=False)
    n = portrait_data("train", shape, shape_mask=False)
    scores(n, variant)
    trimap_label(n)
    # Not pooling, which rounds up: its last windows would lie beyond the label.
    n.eighth_label = L.Convolution(
        n.label,
        num_output=1,
        kernel_size=1,
        stride=STRIDE,
        bias_term=False,
        param=FIXED,
        weight_filler=dict(type="constant", value=1),
    )
    n.label_score = L.Crop(n.fc8, n.eighth_label, axis=2, offset=0)
    n.loss = L.SoftmaxWithLoss(n.label_score, n.eighth_label)
    return both_phases(n, test_data, f"{net}_trimap")


def deploy(net: str) -> caffe_pb2.NetParameter:
    """Net definition for one portrait: from ``data``, mean-subtracted BGR, to ``prob``.

    ``score`` has the size of ``data``.
    """
    variant = VARIANTS[net]
    n = NetSpec()
    n.data = L.Input(shape=input_shape(variant.trunk, channels=3))
    scores(n, variant)
    n.upscore = L.Deconvolution(
        n.fc8,
        param=FIXED,
        convolution_param=dict(
            num_output=CLASSES,
            group=CLASSES,
            kernel_size=2 * STRIDE - 1,
            stride=STRIDE,
            pad=STRIDE - 1,
            bias_term=False,
            weight_filler=dict(type="bilinear"),
        ),
    )
    n.score = L.Crop(n.upscore, n.data, axis=2, offset=0)
    n.prob = L.Softmax(n.score)
    return named(n, f"{net}_trimap_deploy")
