"""Caffe layer: the gradient error of a matte (eq. 13) as a loss.

layer {
  name: "gradient_loss"  type: "Python"
  bottom: "alpha"  bottom: "matte"  top: "gradient_loss"
  loss_weight: 4                    # a Python layer has none by default
  python_param { module: "caffe_layers.gradient_loss_layer" layer: "GradientLossLayer" }
}
"""

from __future__ import annotations

import caffe

from caffe_layers.gradient_loss import gradient_loss
from caffe_layers.layer_support import LayerError, check_blobs, parse_parameters, reported

NAME = "GradientLossLayer"


class GradientLossLayer(caffe.Layer):
    """Bottoms: alpha, true alpha in [0, 1], both (N, 1, H, W).  Top: a scalar.

    The true alpha counts as a constant: its gradient is 0.
    """

    @reported
    def setup(self, bottom, top):
        check_blobs(NAME, bottom, 2, "bottoms (alpha, true alpha)")
        check_blobs(NAME, top, 1, "top (loss)")
        parse_parameters(NAME, self.param_str, {})

    @reported
    def reshape(self, bottom, top):
        alpha, truth = tuple(bottom[0].shape), tuple(bottom[1].shape)
        if alpha != truth or len(alpha) != 4 or alpha[1] != 1:
            raise LayerError(
                f"{NAME}: alpha {alpha} and true alpha {truth} are not both (N, 1, H, W)"
            )
        top[0].reshape(1)

    @reported
    def forward(self, bottom, top):
        loss, self.gradient = gradient_loss(bottom[0].data[:, 0], bottom[1].data[:, 0])
        top[0].data[0] = loss

    @reported
    def backward(self, top, propagate_down, bottom):
        if propagate_down[0]:
            bottom[0].diff[:, 0] = self.gradient * float(top[0].diff[0])
        if propagate_down[1]:
            bottom[1].diff[...] = 0.0
