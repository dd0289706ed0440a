"""Caffe layer: the weighted matte loss (eq. 10, 11).

layer {
  name: "loss"  type: "Python"
  bottom: "alpha"  bottom: "matte"  top: "loss"
  loss_weight: 1                    # a Python layer has none by default
  python_param { module: "caffe_layers.weighted_loss_layer" layer: "WeightedLossLayer"
                 param_str: '{"p_alpha": "data/prepared/p_alpha.txt"}' }
}
"""

from __future__ import annotations

import caffe

from caffe_layers.layer_support import (
    LayerError,
    Parameter,
    check_blobs,
    parse_parameters,
    reported,
    switch,
)
from caffe_layers.weighted_loss import (
    default_alpha_distribution,
    load_alpha_distribution,
    loss_weights,
    weighted_loss,
)

NAME = "WeightedLossLayer"

PARAMETERS = {
    # File of p(alpha) that `make data` writes; null: the shares that the
    # paper quotes (5 % fractional pixels, half of the rest foreground).
    "p_alpha": Parameter(None, lambda v: v is None or isinstance(v, str), "a file name or null"),
    # Divide by the number of pixels.  The paper's learning rates (1e-3 ...
    # 1e-6) fit the normalised loss, FCN's (1e-10 ... 1e-14) the plain sum.
    "normalize": switch(False),
}


class WeightedLossLayer(caffe.Layer):
    """Bottoms: alpha, true alpha in [0, 1], both (N, 1, H, W).  Top: a scalar.

    The true alpha counts as a constant: its gradient is 0.
    """

    @reported
    def setup(self, bottom, top):
        check_blobs(NAME, bottom, 2, "bottoms (alpha, true alpha)")
        check_blobs(NAME, top, 1, "top (loss)")
        options = parse_parameters(NAME, self.param_str, PARAMETERS)
        path = options["p_alpha"]
        distribution = load_alpha_distribution(path) if path else default_alpha_distribution()
        self.weights = loss_weights(distribution)
        self.normalize = options["normalize"]

    @reported
    def reshape(self, bottom, top):
        alpha, truth = tuple(bottom[0].shape), tuple(bottom[1].shape)
        if alpha != truth:
            raise LayerError(f"{NAME}: alpha {alpha} and true alpha {truth} differ in size")
        top[0].reshape(1)

    @reported
    def forward(self, bottom, top):
        loss, self.gradient = weighted_loss(bottom[0].data, bottom[1].data, self.weights)
        self.scale = 1.0 / bottom[0].data.size if self.normalize else 1.0
        top[0].data[0] = loss * self.scale

    @reported
    def backward(self, top, propagate_down, bottom):
        if propagate_down[0]:
            bottom[0].diff[...] = self.gradient * (self.scale * float(top[0].diff[0]))
        if propagate_down[1]:
            bottom[1].diff[...] = 0.0
